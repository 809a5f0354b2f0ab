# POST is passed, GET is looked up: Varnish's own rules, which follow. The limiter is vmod_vsthrottle of the package
# varnish-modules; clients one by one, as ours: all in, except on /tight/.
vcl 4.1;
import vsthrottle;

backend service {
    .host = "{{.Host}}";
    .port = "{{.UpstreamPort}}";
    .max_connections = 2000;
}

sub vcl_recv {
    if (req.url ~ "^/tight/") {
        if (vsthrottle.is_denied("tight" + client.identity, 1, 3600s)) {
            return (synth(429, "Too Many Requests"));
        }
    } else if (vsthrottle.is_denied(client.identity, 1000000000, 10s)) {
        return (synth(429, "Too Many Requests"));
    }
    set req.http.X-Forwarded-Proto = "http";
    set req.http.X-Forwarded-Host = req.http.Host;
    set req.http.X-Request-ID = req.xid;
}

sub vcl_deliver {
    if (obj.hits > 0) {
        set resp.http.X-Cache = "HIT";
    } else {
        set resp.http.X-Cache = "MISS";
    }
}
