//go:build integration

package integration

import (
	"aigateway/gateway/testkit"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	rand2 "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Redis as people have it: a cluster, sentinels, TLS with certificates of both sides, a user of its ACL, Valkey.

// simulated starts a gateway with its own backends.
func simulated(t *testing.T, env ...string) *gateway {
	t.Helper()
	g := startGateway(t, options{args: []string{"-demo", "-visitors=false"}, env: env})
	g.awaitReady(t)
	return g
}

// provesShared starts two gateways and shows that they share answers, purges and limits.
func provesShared(t *testing.T, redis ...string) (one, two *gateway) {
	t.Helper()
	env := append([]string{"CACHE_ENABLED=true", "CACHE_BACKEND=redis", "ADMIN_TOKEN=secret",
		"RATE_LIMIT_ENABLED=true", "RL_BACKEND=redis", "GLOBAL_RPS=100000", "GLOBAL_BURST=100000", "CLIENT_RPS=100000", "CLIENT_BURST=100000"}, redis...)
	one, two = simulated(t, env...), simulated(t, env...)
	one.awaitCache(t)
	two.awaitCache(t)
	for i := range 12 { // over all nodes of a cluster
		prompt := fmt.Sprint(t.Name(), " ", i)
		wantOutcome(t, one.cachedGet(t, "a", prompt), "MISS")
		eventually(t, patience, "the other has it", func() bool { return two.only(t, prompt) })
		one.purge(t, "/infer/python?prompt="+strings.ReplaceAll(prompt, " ", "+"))
		eventually(t, patience, "the other has dropped it", func() bool { return !two.only(t, prompt) })
	}
	eventually(t, patience, "tokens are leased from Redis", func() bool {
		if a := one.cachedGet(t, "a", "leased"); a.status != http.StatusOK {
			t.Errorf("%v", a)
		}
		text := string(ask(t, request{url: one.url + "/metrics"}).body)
		return strings.Contains(text, "rate_limit_fallback 0\n") && !strings.Contains(text, "rate_limit_lease_tokens_total 0\n")
	})
	return one, two
}

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("redis-cli"); err != nil {
		t.Skip("there is no redis-cli here")
	}
	var addrs []string
	for range 3 {
		addrs = append(addrs, "127.0.0.1:"+testkit.StartRedis(t, "--cluster-enabled", "yes").Port())
	}
	create := append([]string{"--cluster", "create"}, addrs...)
	said, err := exec.Command("redis-cli", append(create, "--cluster-yes", "--cluster-replicas", "0")...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	for _, addr := range addrs { // until then a node answers CLUSTERDOWN
		eventually(t, patience, "the cluster is up", func() bool { return strings.Contains(redisDo(t, addr, "CLUSTER", "INFO"), "cluster_state:ok") })
	}
	one, _ := provesShared(t, "REDIS_ADDR="+strings.Join(addrs, ","), "REDIS_DB=3")
	if said, _ := one.all.read(); !strings.Contains(said, "REDIS_DB: several addresses are a cluster") {
		t.Error("no warning of REDIS_DB")
	}
	lone := simulated(t, "CACHE_ENABLED=true", "CACHE_BACKEND=redis", "REDIS_ADDR="+addrs[0], "REDIS_DB=3")
	eventually(t, patience, "of one address, too", func() bool { said, _ := lone.all.read(); return strings.Contains(said, "see REDIS_DB") })
	nodes := 0
	for _, addr := range addrs {
		if redisDo(t, addr, "DBSIZE") != ":0" {
			nodes++
		}
	}
	if nodes < 2 {
		t.Errorf("only %d nodes have keys", nodes)
	}
}

// redisDo sends one command and returns the reply, or why there is none.
func redisDo(t *testing.T, addr string, words ...string) string {
	t.Helper()
	reply, err := testkit.RedisReply(addr, words...)
	if err != nil {
		return err.Error()
	}
	return reply
}

// After a failover, the gateways go to the new master by themselves.
func TestRedisSentinel(t *testing.T) {
	t.Parallel()
	master := testkit.StartRedis(t, "--requirepass", "redis-secret", "--masterauth", "redis-secret").Port()
	replica := testkit.StartRedis(t, "--requirepass", "redis-secret", "--masterauth", "redis-secret", "--replicaof", "127.0.0.1 "+master).Port()
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	text := "sentinel monitor main 127.0.0.1 " + master + " 1\nsentinel auth-pass main redis-secret\n" +
		"sentinel down-after-milliseconds main 1000\nrequirepass sentinel-secret\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sentinel := testkit.RunRedis(t, "redis-server", conf, "--sentinel", "--port", "PORT").Port()
	one, two := provesShared(t, "REDIS_ADDR=127.0.0.1:"+sentinel, "REDIS_MASTER=main",
		"REDIS_PASSWORD=redis-secret", "REDIS_SENTINEL_PASSWORD=sentinel-secret")
	ask := func(port, password string, words ...string) string {
		said, _ := exec.Command("redis-cli", append([]string{"-p", port, "-a", password, "--no-auth-warning"}, words...)...).CombinedOutput()
		return string(said)
	}
	if _, err := exec.LookPath("redis-cli"); err != nil {
		t.Skip("there is no redis-cli here: no failover")
	}
	eventually(t, patience, "the sentinel begins a failover", func() bool {
		return strings.Contains(ask(sentinel, "sentinel-secret", "sentinel", "failover", "main"), "OK")
	})
	eventually(t, patience, "the other is master", func() bool {
		return strings.Contains(ask(replica, "redis-secret", "role"), "master")
	})
	eventually(t, patience, "the gateways write to the new master", func() bool {
		prompt := fmt.Sprint("failover ", time.Now().UnixNano())
		one.cachedGet(t, "a", prompt)
		return !strings.HasPrefix(ask(replica, "redis-secret", "dbsize"), "0") && two.only(t, prompt)
	})
	saidOne, _ := one.all.read()
	if strings.Contains(saidOne, "secret") {
		t.Error("a password in the log")
	}
}

func TestRedisTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	authority := newAuthority(t, dir)
	authority.issue(t, "server", net.IPv4(127, 0, 0, 1))
	authority.issue(t, "client")
	in := func(name string) string { return filepath.Join(dir, name) }
	port := testkit.RunRedis(t, "redis-server", "--port", "0", "--tls-port", "PORT", "--save", "", "--tls-cert-file", in("server.pem"), "--tls-key-file", in("server.key"),
		"--tls-ca-cert-file", in("ca.pem"), "--tls-auth-clients", "yes").Port()
	addr := "REDIS_ADDR=rediss://127.0.0.1:" + port
	provesShared(t, addr, "REDIS_CA_FILE="+in("ca.pem"), "REDIS_CERT_FILE="+in("client.pem"), "REDIS_KEY_FILE="+in("client.key"))
	for _, less := range [][]string{
		{addr, "REDIS_CA_FILE=" + in("ca.pem")},
		{addr, "REDIS_CERT_FILE=" + in("client.pem"), "REDIS_KEY_FILE=" + in("client.key")},
	} {
		g := simulated(t, append([]string{"CACHE_ENABLED=true", "CACHE_BACKEND=redis"}, less...)...)
		eventually(t, patience, "it says that Redis cannot be used", func() bool {
			said, _ := g.all.read()
			return strings.Contains(said, "the cache does without Redis")
		})
		if g.trusted(t) {
			t.Errorf("%q: memory is trusted", less)
		}
	}
}

// An authority issues certificates into a directory.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, dir string) *authority {
	t.Helper()
	a := &authority{dir: dir}
	a.cert = &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	a.write(t, "ca", a.cert)
	return a
}

func (a *authority) issue(t *testing.T, name string, ips ...net.IP) {
	t.Helper()
	a.write(t, name, &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IPAddresses: ips,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)})
}

func (a *authority) write(t *testing.T, name string, cert *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if a.key == nil {
		a.key = key
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(a.dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// The commands that a user of the ACL needs are those that the documentation names; the default user is off.
func TestRedisUser(t *testing.T) {
	t.Parallel()
	port := testkit.StartRedis(t, append(append([]string{"--user", "gateway", "on", ">user-secret", "~gw:v1:*"}, strings.Fields(neededCommands)...), "--user", "default", "off")...).Port()
	one, _ := provesShared(t, "REDIS_ADDR=127.0.0.1:"+port, "REDIS_USERNAME=gateway", "REDIS_PASSWORD=user-secret")
	if said, _ := one.all.read(); strings.Contains(said, "user-secret") {
		t.Error("a password in the log")
	}
	wrong := simulated(t, "CACHE_ENABLED=true", "CACHE_BACKEND=redis",
		"REDIS_ADDR=127.0.0.1:"+port, "REDIS_USERNAME=gateway", "REDIS_PASSWORD=another-secret")
	eventually(t, patience, "it says that the password is wrong", func() bool {
		said, _ := wrong.all.read()
		return strings.Contains(said, "WRONGPASS")
	})
	if said, _ := wrong.all.read(); strings.Contains(said, "another-secret") {
		t.Error("a password in the log")
	}
}

const neededCommands = "-@all +hello +ping +select +client|tracking +cluster|slots +cluster|shards " +
	"+get +getrange +set +unlink +exists +scan +eval +evalsha +time +pexpire +zadd +zrem +zcard +zremrangebyscore"

// Valkey, where there is one.
func TestValkey(t *testing.T) {
	port := testkit.RunRedis(t, "valkey-server", "--port", "PORT", "--save", "", "--appendonly", "no").Port()
	provesShared(t, "REDIS_ADDR=127.0.0.1:"+port)
}

// Two deployments with prefixes of their own share a Redis and nothing else.
func TestRedisPrefix(t *testing.T) {
	t.Parallel()
	addr := "127.0.0.1:" + testkit.StartRedis(t).Port()
	open := func(prefix string) *gateway {
		g := simulated(t, "CACHE_ENABLED=true", "CACHE_BACKEND=redis", "ADMIN_TOKEN=secret", "REDIS_ADDR="+addr, "REDIS_PREFIX="+prefix,
			"RATE_LIMIT_ENABLED=true", "RL_BACKEND=redis", "CLIENT_RPS=1000", "CLIENT_BURST=1000", "GLOBAL_RPS=1000", "GLOBAL_BURST=1000")
		g.awaitCache(t)
		return g
	}
	blue, green, twin := open("blue"), open("green"), open("blue")
	wantOutcome(t, blue.cachedGet(t, "a", "prefix"), "MISS")
	eventually(t, patience, "the twin has it", func() bool { return twin.only(t, "prefix") })
	wantOutcome(t, green.cachedGet(t, "a", "prefix"), "MISS")
	eventually(t, patience, "green has it in Redis", func() bool {
		return redisDo(t, addr, "EVAL", "return #redis.call('KEYS', 'green:v1:c:*')", "0") != ":0"
	})
	green.purge(t, "/infer/python?prompt=prefix")
	wantOutcome(t, green.cachedGet(t, "a", "prefix"), "MISS")
	wantOutcome(t, blue.cachedGet(t, "a", "prefix"), "HIT")
	if n := redisDo(t, addr, "EVAL", "local n = 0 for _, k in ipairs(redis.call('KEYS', '*')) do if not (k:find('^blue:v1:') or k:find('^green:v1:')) then n = n + 1 end end return n", "0"); n != ":0" {
		t.Error(n, "keys without a prefix")
	}
}

// zipf asks for prompts by Zipf's law, one after the other, and returns the share of hits.
func (g *gateway) zipf(t *testing.T, n int) float64 {
	t.Helper()
	client := newClient()
	defer client.CloseIdleConnections()
	z := rand2.NewZipf(rand2.New(rand2.NewPCG(1, 2)), 1.1, 1, 150)
	hits := 0
	for range n {
		a, err := request{url: fmt.Sprintf("%s/infer?prompt=%d", g.url, z.Uint64())}.by(client)
		if err != nil || a.status != http.StatusOK {
			t.Fatal(a, err)
		}
		if a.header.Get("X-Cache") == "HIT" {
			hits++
		}
	}
	return float64(hits) / float64(n)
}

// A Redis that is full, or read-only, or cannot push, costs nobody the cache in memory; and each of these is said in the log,
// in the metrics and in /cachez.
func TestRedisRefuses(t *testing.T) {
	t.Parallel()
	const requests = 500
	env := []string{"CACHE_ENABLED=true", "CACHE_BACKEND=redis", "ADMIN_TOKEN=secret", "REDIS_ADDR="}
	open := func(addr string, more ...string) *gateway {
		t.Helper()
		env := append(slices.Clone(env), more...)
		env[3] += addr
		g := simulated(t, env...)
		g.awaitCache(t)
		return g
	}
	shows := func(g *gateway, state, line string) {
		t.Helper()
		eventually(t, patience, "/cachez says "+state, func() bool {
			return strings.Contains(string(ask(t, request{url: g.url + "/cachez"}).body), `"redis_state":"`+state+`"`)
		})
		if text := string(ask(t, request{url: g.url + "/metrics"}).body); !strings.Contains(text, `cache_redis_state{state="`+state+`"} 1`) {
			t.Error("metrics do not say", state)
		}
		eventually(t, patience, "the log says "+state, func() bool { said, _ := g.all.read(); return strings.Contains(said, line) })
	}
	plain := open("127.0.0.1:" + testkit.StartRedis(t).Port())
	want := plain.zipf(t, requests)
	shows(plain, "ok", "")

	full := "127.0.0.1:" + testkit.StartRedis(t).Port()
	redisDo(t, full, "SET", "somebody's", strings.Repeat("x", 40_000))
	redisDo(t, full, "CONFIG", "SET", "maxmemory", "100kb")
	// A Redis that did not answer for so long that it counts as lost takes the memory with it, and what is stored while that is
	// found out is not kept: then another gateway is asked.
	keeps := func(what, addr string) (g *gateway) {
		t.Helper()
		for chance := 1; ; chance++ {
			g = open(addr)
			got := g.zipf(t, requests)
			t.Logf("hit ratio %.3f with a Redis that takes all, %.3f with one that is %s", want, got, what)
			if got == want {
				return g
			}
			if chance == 5 {
				t.Fatalf("a Redis that is %s costs hits", what)
			}
		}
	}
	one, two := keeps("full", full), open(full)
	two.zipf(t, requests)
	shows(one, "full", "Redis is full")
	for i := range 20 {
		prompt := fmt.Sprint(t.Name(), i)
		wantOutcome(t, one.cachedGet(t, "a", prompt), "MISS")
		wantOutcome(t, two.cachedGet(t, "a", prompt), "MISS") // each has its own
		// What was said of the purge before may come only now, and then what was asked for before it is not kept.
		eventually(t, patience, "it is kept", func() bool { return two.cachedGet(t, "a", prompt).header.Get("X-Cache") == "HIT" })
		one.purge(t, "/infer/python?prompt="+prompt)
		eventually(t, patience, "the other has dropped it", func() bool { return !two.only(t, prompt) })
	}

	master := testkit.StartRedis(t).Port()
	replica := "127.0.0.1:" + testkit.StartRedis(t, "--replicaof", "127.0.0.1 "+master).Port()
	// When it has taken over what the master has, it forgets what it had, and says so: that would cost the memory of who asks it.
	eventually(t, patience, "the replica follows", func() bool {
		return strings.Contains(redisDo(t, replica, "INFO", "replication"), "master_link_status:up")
	})
	if said := redisDo(t, replica, "SET", "x", "y"); !strings.HasPrefix(said, "-READONLY") {
		t.Fatal(said)
	}
	reader := keeps("read-only", replica)
	shows(reader, "read_only", "read-only")
	a := ask(t, request{method: http.MethodDelete, url: reader.url + "/cachez", header: map[string]string{"Authorization": "Bearer secret"}})
	if a.status != http.StatusServiceUnavailable || !strings.Contains(string(a.body), "purge_incomplete") {
		t.Errorf("a purge that nobody hears: %v", a)
	}

	blind := open("127.0.0.1:"+testkit.StartRedis(t, append(append([]string{"--user", "blind", "on", ">pass-of-blind", "~*"}, strings.Fields(neededCommands)...), "-client|tracking")...).Port(),
		"REDIS_USERNAME=blind", "REDIS_PASSWORD=pass-of-blind")
	got := blind.zipf(t, requests)
	for chance := 1; got < want-0.02 && chance < 5; chance++ { // memory keeps what it is for two seconds: some go elsewhere on a slow machine
		got = blind.zipf(t, requests)
	}
	t.Logf("hit ratio %.3f with a Redis that cannot push", got)
	if got < want-0.02 {
		t.Error("a Redis that cannot push costs hits")
	}
	shows(blind, "no_push", "two seconds")
	if said, _ := blind.all.read(); strings.Contains(said, "pass-of-blind") {
		t.Error("a password in the log")
	}
}
