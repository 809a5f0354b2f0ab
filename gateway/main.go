// Command gateway is a high-throughput API gateway in front of AI inference services.
//
// See README.md for its routes, gateway/config/README.md for its settings, and gateway/README.md for a map of the code.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/process"
	"aigateway/gateway/server"
	"aigateway/gateway/telemetry"
	"aigateway/gateway/wire"
)

// version is set by the build.
var version = "dev"

// builtVersion is that, or what go install knows of what it has built.
func builtVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || version != "dev" || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return version
	}
	return info.Main.Version
}

// Exit codes: 0 after an orderly end, 1 for a gateway that could not start or was told twice to end, and for -probe if something does not
// answer as it should, 2 for settings or flags that are wrong.
const (
	exitFailed = 1
	exitUsage  = 2
)

// firstLook is how long the start waits for the lists of engines' models. After a restart, too, a request is to go to who has its model.
const firstLook = time.Second

type flags struct {
	demo, visitors, check, probe, print, schema, version, healthcheck bool
	config, explain                                                   string
}

func main() {
	os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

func run(args, environ []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "keygen" {
		return keygen(args[1:], stdout, stderr)
	}
	f, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return exitUsage
	case f.version:
		fmt.Fprintln(stdout, wire.Name, builtVersion())
		return 0
	case f.schema:
		_, _ = stdout.Write(config.Schema())
		return 0
	}
	in := config.Input{Environ: environ, File: f.config, Keys: new(config.KeyReader)}
	var d *demo
	if f.healthcheck {
		return healthcheck(in, stderr)
	}
	if f.demo {
		if d, err = startDemo(environ, stdout); err != nil {
			fmt.Fprintln(stderr, err)
			return exitFailed
		}
		defer d.close()
		d.deserted = !f.visitors
		if err = d.furnish(&in); err != nil {
			fmt.Fprintln(stderr, err)
			return exitFailed
		}
	}
	settings, warnings, err := config.Load(in)
	if err != nil {
		fmt.Fprintf(stderr, "cannot start, the settings have faults:\n%s\n", indent(err.Error()))
		return exitUsage
	}
	if f.explain == "" && (f.check || f.print) {
		warn(stderr, warnings)
	}
	if f.explain != "" || f.check || f.print {
		code, err := show(f, settings, stdout)
		if err != nil {
			fmt.Fprintln(stderr, err)
		}
		return code
	}
	// From here on nothing waits for whoever reads what is said, or dies of one who has gone: a write to a closed pipe is
	// an error, and no longer the end of the process.
	signal.Ignore(syscall.SIGPIPE)
	lines := telemetry.NewLines(stderr)
	defer lines.Close()
	warn(lines, warnings)
	return serve(settings, in, d, lines)
}

// show says what was asked of the settings, which are without faults, and returns the exit code.
func show(f flags, settings *config.Settings, stdout io.Writer) (code int, err error) {
	switch {
	case f.explain != "":
		text, err := settings.Explain(f.explain)
		if err != nil {
			return exitUsage, err
		}
		fmt.Fprint(stdout, text)
	case f.check:
		fmt.Fprintln(stdout, "the settings are fine")
		if f.probe && !tell(stdout, survey(context.Background(), settings)) {
			return exitFailed, nil
		}
	default:
		settings.Print(stdout)
	}
	return 0, nil
}

func parse(args []string, stderr io.Writer) (flags, error) {
	var f flags
	set := flag.NewFlagSet("gateway", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.BoolVar(&f.demo, "demo", false, "run simulated backends inside the process")
	set.BoolVar(&f.visitors, "visitors", true, "with -demo: two tenants come and ask, so that the dashboard has something to show")
	set.StringVar(&f.config, "config", "", "read settings, pools and routes from this YAML `FILE`")
	set.BoolVar(&f.check, "check", false, "check the settings and exit")
	set.BoolVar(&f.probe, "probe", false, "with -check: ask every upstream, Redis and the issuer of tokens once, and say what they are")
	set.BoolVar(&f.print, "print-config", false, "print the effective settings and where each comes from, and exit")
	set.BoolVar(&f.schema, "schema", false, "print a JSON Schema of the configuration file, for editors, and exit")
	set.StringVar(&f.explain, "explain", "", "say what a `SETTING` is, what it is set to and by whom, and exit")
	set.BoolVar(&f.healthcheck, "healthcheck", false, "ask the gateway of these settings on this machine whether it is alive, and exit: 0 if it is")
	set.BoolVar(&f.version, "version", false, "print the version and exit")
	if err := set.Parse(args); err != nil {
		return f, err
	}
	if f.probe && !f.check {
		fmt.Fprintln(stderr, "gateway: -probe goes with -check")
		return f, errors.New("-probe without -check")
	}
	if set.NArg() > 0 {
		fmt.Fprintf(stderr, "gateway: unexpected argument %q; everything else is set by environment or -config\n", set.Arg(0))
		return f, errors.New("unexpected argument")
	}
	return f, nil
}

func warn(to io.Writer, warnings []string) {
	for _, w := range warnings {
		fmt.Fprintln(to, "warning:", w)
	}
}

// serve runs the gateway until a signal ends it. d is nil without -demo.
func serve(s *config.Settings, in config.Input, d *demo, lines *telemetry.Lines) int {
	level := new(slog.LevelVar)
	level.Set(s.LogLevel)
	log := slog.New(slog.NewJSONHandler(lines, &slog.HandlerOptions{Level: level}))
	signals, hangUp := make(chan os.Signal, 2), make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	signal.Notify(hangUp, syscall.SIGHUP)
	defer signal.Stop(signals)
	defer signal.Stop(hangUp)

	g, err := server.New(s, server.Options{Log: log, Version: builtVersion(), Lines: lines})
	if err != nil {
		fmt.Fprintln(lines, err)
		return exitFailed
	}
	socket, err := listen(s, in)
	if err != nil {
		g.Close()
		fmt.Fprintf(lines, "cannot listen on port %d: %v\nset PORT to a free one\n", s.Port, err)
		return exitFailed
	}
	g.AwaitModels(firstLook) // who connects meanwhile waits
	log.Info("listening", "port", socket.Port(), "version", builtVersion())
	served := make(chan error, 2)
	if s.Admin.Addr != "" {
		admin, err := socket.Beside(s.Admin.Addr)
		if err != nil {
			_ = socket.Close()
			g.Close()
			fmt.Fprintf(lines, "cannot listen on ADMIN_ADDR: %v\nset it to a free address\n", err)
			return exitFailed
		}
		log.Info("operations pages", "addr", s.Admin.Addr)
		go func() { served <- g.ServeAdmin(admin) }()
	}
	go func() { served <- g.Serve(socket) }()
	d.open(s, socket.Port())
	running := service{demo: d, gateway: g, socket: socket, log: log, lines: lines, signals: signals, served: served}
	return running.untilEnd(&reloader{in: in, gateway: g, log: log, level: level, notify: process.NewNotifier(in.Environ)}, s, hangUp)
}

// listen takes the port of the settings. -demo takes another one if nobody has set it and it is taken: by an engine, perhaps, that
// it is to stand in front of.
func listen(s *config.Settings, in config.Input) (*process.Socket, error) {
	socket, err := process.Listen(in.Environ, s.Port, s.HandoverSocket)
	if in.Demo == nil || !s.IsDefault("PORT") {
		return socket, err
	}
	for port := s.Port + 1; errors.Is(err, syscall.EADDRINUSE) && port < s.Port+10; port++ {
		socket, err = process.Listen(in.Environ, port, s.HandoverSocket)
	}
	return socket, err
}

// A service is a gateway that serves.
type service struct {
	demo    *demo // nil: none
	gateway *server.Gateway
	socket  *process.Socket
	log     *slog.Logger
	lines   *telemetry.Lines
	signals <-chan os.Signal // SIGTERM and SIGINT
	served  <-chan error
}

// untilEnd tells the outside that the gateway serves, follows its files, and ends it in order at the first signal.
func (r *service) untilEnd(reloads *reloader, s *config.Settings, hangUp <-chan os.Signal) int {
	g, socket, log := r.gateway, r.socket, r.log
	if err := socket.Serving(); err != nil {
		log.Warn(err.Error())
	}
	defer socket.EndOffer()
	reloads.notify.Ready()
	running, stop := context.WithCancel(context.Background())
	defer stop()
	reloads.settings.Store(s)
	go reloads.run(running, hangUp)

	select {
	case err := <-r.served:
		g.Close()
		log.Error("cannot serve any longer", "error", fmt.Sprint(err))
		return exitFailed
	case sig := <-r.signals:
		reloads.notify.Stopping()
		r.demo.leave()
		log.Info("shutting down", "signal", sig.String(), "grace", reloads.settings.Load().ShutdownGrace.String())
	}
	go func() {
		<-r.signals
		log.Warn("second signal, ending at once")
		r.lines.Close()
		os.Exit(exitFailed)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), reloads.settings.Load().ShutdownGrace)
	defer cancel()
	if socket.Taken() || socket.Inherited() {
		g.Leave()
	}
	cut := g.Shutdown(ctx)
	log.Info("ended", "connections_cut", cut)
	return 0
}

func indent(s string) string { return "  " + strings.ReplaceAll(s, "\n", "\n  ") }
