package main

import (
	"cmp"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// floors are the rooms from the ground up: a room may import any room on a lower floor, none above it and none beside it.
// "main" is the directory gateway itself, "bench" the one next to it; every other room is a directory in gateway.
// Nothing imports the top floor: it is there to test and measure the rest.
var floors = [][]string{
	{"config", "process", "wire"},
	{"cache", "inference", "keys", "proxy", "ratelimit", "routing", "simulator", "telemetry", "testkit"},
	{"caching", "charging", "models", "ops"}, // steps on a request's way that are rooms of their own, and the operator's room
	{"server"},
	{"main"},
	{"behaviour", "bench", "integration"},
}

// testsOnly is the room that tests of every room may import, and nothing else may.
const testsOnly = "testkit"

// homes says which rooms may import a library. The top floor may import all of them, as rivals and as yardsticks.
var homes = map[string][]string{
	"github.com/VictoriaMetrics/fastcache": {"cache"},
	"github.com/VictoriaMetrics/metrics":   {"telemetry"},
	"github.com/fasthttp/router":           {"ops"},
	"github.com/go-jose/go-jose":           {"keys"},
	"github.com/goccy/go-yaml":             {"config"},
	"github.com/redis/rueidis":             {"cache", "ratelimit"},
	"github.com/rueian/rueidis":            nil, // the old name of redis/rueidis
	"golang.org/x/sys":                     {"inference", "process", "wire"},
}

func TestLayers(t *testing.T) {
	faults, files := layerFaults(t, os.DirFS(".."))
	for _, fault := range faults {
		t.Error(fault)
	}
	if files == 0 {
		t.Error("no Go file found: this test looks into the wrong directory")
	}
}

// TestLayerFaults shows that TestLayers can fail. A tree is one file and one import, and a fault must name both.
func TestLayerFaults(t *testing.T) {
	f := func(file, imported, want string) {
		t.Helper()
		source := fmt.Sprintf("package p\n\nimport _ %q\n", imported)
		faults, files := layerFaults(t, fstest.MapFS{file: {Data: []byte(source)}})
		got := strings.Join(faults, "\n")
		switch {
		case files != 1:
			t.Errorf("%s: %d files read", file, files)
		case want == "" && got != "":
			t.Errorf("%s imports %s: unexpected fault: %s", file, imported, got)
		case want != "" && (!strings.Contains(got, want) || !strings.Contains(got, file) || !strings.Contains(got, imported)):
			t.Errorf("%s imports %s: got %q, want a sentence with both and %q", file, imported, got, want)
		}
	}

	// down
	f("gateway/main.go", "aigateway/gateway/server", "")
	f("gateway/main.go", "aigateway/gateway/config", "")
	f("gateway/server/server.go", "aigateway/gateway/ops", "")
	f("gateway/server/server.go", "aigateway/gateway/proxy", "")
	f("gateway/ops/ops.go", "aigateway/gateway/cache", "")
	f("gateway/proxy/proxy.go", "aigateway/gateway/wire", "")
	f("gateway/proxy/proxy.go", "fmt", "")
	f("gateway/integration/stream_test.go", "aigateway/gateway/simulator", "")
	f("bench/gateway_test.go", "aigateway/gateway/server", "")

	// to what tests share
	f("gateway/proxy/pool_test.go", "aigateway/gateway/testkit", "")
	f("gateway/wire/wire_test.go", "aigateway/gateway/testkit", "")
	f("gateway/server/kit_test.go", "aigateway/gateway/testkit", "")
	f("gateway/behaviour/kit_test.go", "aigateway/gateway/testkit", "")
	f("gateway/behaviour/kit_test.go", "aigateway/gateway/server", "")
	f("gateway/testkit/running.go", "aigateway/gateway/config", "")
	f("gateway/server/server.go", "aigateway/gateway/testkit", "testkit is for tests")
	f("gateway/wire/wire.go", "aigateway/gateway/testkit", "testkit is for tests")
	f("bench/load/main.go", "aigateway/gateway/testkit", "testkit is for tests")
	f("gateway/testkit/running.go", "aigateway/gateway/proxy", "testkit may import only config, process, wire")

	// inside a room
	f("gateway/cache/cache.go", "aigateway/gateway/cache/internal/flat", "")
	f("gateway/cache/internal/flat/flat.go", "aigateway/gateway/config", "")
	f("bench/gateway_test.go", "aigateway/bench/rival", "")

	// up
	f("gateway/config/config.go", "aigateway/gateway/cache", "config may import no other room")
	f("gateway/wire/wire.go", "aigateway/gateway/server", "wire may import no other room")
	f("gateway/proxy/proxy.go", "aigateway/gateway/server", "proxy may import only config, process, wire")
	f("gateway/telemetry/record.go", "aigateway/gateway/ops", "telemetry may import only config, process, wire")
	f("gateway/ops/ops.go", "aigateway/gateway/server", "ops may import only cache, config, inference, keys, process, proxy, ratelimit, routing, simulator, telemetry, wire")
	f("gateway/server/server.go", "aigateway/gateway", "server may import only")
	f("gateway/server/server.go", "aigateway/gateway/integration", "server may import only")
	f("gateway/main.go", "aigateway/bench", "main may import only")
	f("gateway/main.go", "aigateway/gateway/integration", "main may import only")
	f("gateway/main.go", "aigateway/gateway/behaviour", "main may import only")

	// sideways, in tests and in packages within a room too
	f("gateway/wire/wire.go", "aigateway/gateway/config", "wire may import no other room")
	f("gateway/proxy/pool.go", "aigateway/gateway/telemetry", "proxy may import only config, process, wire")
	f("gateway/proxy/pool_test.go", "aigateway/gateway/simulator", "proxy may import only config, process, wire")
	f("gateway/cache/internal/flat/flat.go", "aigateway/gateway/ratelimit", "cache may import only config, process, wire")
	f("gateway/integration/stream_test.go", "aigateway/bench/rival", "integration may import only")

	// where nobody lives
	f("gateway/util/util.go", "fmt", "util is not a room")
	f("gateway/util/strings/strings.go", "fmt", "util is not a room")
	f("gateway/server/server.go", "aigateway/gateway/util", "util is not a room")
	f("gateway/server/server.go", "aigateway/scripts/report", "scripts is not a room")
	f("internal/clock/clock.go", "fmt", "internal is not a room")
	f("tool.go", "fmt", ". is not a room")

	// libraries
	f("gateway/cache/memory.go", "github.com/VictoriaMetrics/fastcache", "")
	f("gateway/ratelimit/shared.go", "github.com/redis/rueidis", "")
	f("gateway/cache/redis.go", "github.com/redis/rueidis/rueidiscompat", "")
	f("gateway/wire/socket.go", "golang.org/x/sys/unix", "")
	f("gateway/proxy/conn.go", "github.com/valyala/fasthttp", "")
	f("gateway/proxy/conn.go", "golang.org/x/system", "")
	f("bench/cache_test.go", "github.com/VictoriaMetrics/fastcache", "")
	f("gateway/integration/file_test.go", "github.com/goccy/go-yaml", "")
	f("gateway/server/server.go", "github.com/VictoriaMetrics/fastcache", "github.com/VictoriaMetrics/fastcache has its home in cache")
	f("gateway/proxy/proxy.go", "github.com/redis/rueidis", "github.com/redis/rueidis has its home in cache, ratelimit")
	f("gateway/cache/redis.go", "github.com/rueian/rueidis", "github.com/rueian/rueidis has no home")
	f("gateway/ops/ops.go", "github.com/VictoriaMetrics/metrics", "github.com/VictoriaMetrics/metrics has its home in telemetry")
	f("gateway/main.go", "github.com/goccy/go-yaml/ast", "github.com/goccy/go-yaml has its home in config")
	f("gateway/server/server.go", "github.com/fasthttp/router", "github.com/fasthttp/router has its home in ops")
	f("gateway/proxy/watch.go", "golang.org/x/sys/unix", "golang.org/x/sys has its home in inference, process, wire")
}

func TestLayerFaultsReadsOnlyThisModule(t *testing.T) {
	source := &fstest.MapFile{Data: []byte("package p\n\nimport _ \"aigateway/gateway/util\"\n")}
	faults, files := layerFaults(t, fstest.MapFS{
		"go.mod":                                   {Data: []byte("module aigateway\n")},
		"gateway/proxy/proxy.go":                   {Data: []byte("package proxy\n")},
		"gateway/proxy/testdata/odd.go":            source,
		"gateway/proxy/_draft/draft.go":            source,
		"gateway/proxy/notes.txt":                  source,
		".cache/x.go":                              source,
		"backends/node/node_modules/flat/x.go":     source,
		"scripts/tools/go.mod":                     {Data: []byte("module aigateway/scripts/tools\n")},
		"scripts/tools/tools.go":                   source,
		"scripts/tools/k6/deeper/than/the/mod.go":  source,
		"backends/python/.venv/lib/site/x/code.go": source,
	})
	if len(faults) != 0 || files != 1 {
		t.Errorf("%d files read, want 1; faults: %q", files, faults)
	}
}

// layerFaults reads the imports of every Go file of this module and returns a sentence for each arrow that goes the wrong way,
// and the number of files it read.
func layerFaults(t *testing.T, tree fs.FS) (faults []string, files int) {
	t.Helper()
	err := fs.WalkDir(tree, ".", func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			if notOurs(tree, file) {
				return fs.SkipDir
			}
			return nil
		case path.Ext(file) != ".go":
			return nil
		}
		files++
		imports, err := importsOf(tree, file)
		if err != nil {
			return err
		}
		room := roomOf(path.Dir(file))
		if floorOf(room) < 0 {
			faults = append(faults, fmt.Sprintf("%s: %s is not a room; %s (it imports %s)",
				file, room, howToBuild, strings.Join(imports, ", ")))
			return nil
		}
		for _, imported := range imports {
			if why := cmp.Or(wrongArrow(file, imported), wrongHome(room, imported)); why != "" {
				faults = append(faults, fmt.Sprintf("%s imports %s: %s", file, imported, why))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("cannot read the imports: %s", err)
	}
	return faults, files
}

const howToBuild = "rooms are listed in gateway/layers_test.go, give a new one its floor there"

// notOurs reports whether the go command keeps out of dir, or finds another module in it.
func notOurs(tree fs.FS, dir string) bool {
	if dir == "." {
		return false
	}
	name := path.Base(dir)
	if name == "testdata" || name == "node_modules" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return true
	}
	_, err := fs.Stat(tree, path.Join(dir, "go.mod"))
	return err == nil
}

func importsOf(tree fs.FS, file string) ([]string, error) {
	source, err := fs.ReadFile(tree, file)
	if err != nil {
		return nil, err
	}
	syntax, err := parser.ParseFile(token.NewFileSet(), file, source, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	var imports []string
	for _, spec := range syntax.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		imports = append(imports, imported)
	}
	return imports, nil
}

// roomOf names the room that a directory of this module belongs to.
func roomOf(dir string) string {
	first, rest, _ := strings.Cut(dir, "/")
	if first != "gateway" {
		return first
	}
	room, _, _ := strings.Cut(rest, "/")
	return cmp.Or(room, "main")
}

// floorOf is the height of a room, -1 for none.
func floorOf(room string) int {
	return slices.IndexFunc(floors, func(rooms []string) bool { return slices.Contains(rooms, room) })
}

// wrongArrow says why a file may not import a package of this module; it is empty if it may.
func wrongArrow(file, imported string) string {
	dir, ok := strings.CutPrefix(imported, "aigateway/")
	if !ok {
		return ""
	}
	room, other := roomOf(path.Dir(file)), roomOf(dir)
	if other == testsOnly && room != testsOnly {
		if strings.HasSuffix(file, "_test.go") {
			return ""
		}
		return other + " is for tests; only a _test.go file may import it"
	}
	floor := floorOf(room)
	switch otherFloor := floorOf(other); {
	case otherFloor < 0:
		return other + " is not a room; " + howToBuild
	case other == room || otherFloor < floor:
		return ""
	case floor == 0:
		return fmt.Sprintf("%s may import no other room; %s", room, arrows())
	default:
		return fmt.Sprintf("%s may import only %s; %s", room, roomsBelow(floor), arrows())
	}
}

// wrongHome says why room may not import a library; it is empty if it may.
func wrongHome(room, imported string) string {
	if floorOf(room) == len(floors)-1 {
		return ""
	}
	for library, rooms := range homes {
		if imported != library && !strings.HasPrefix(imported, library+"/") || slices.Contains(rooms, room) {
			continue
		}
		if len(rooms) == 0 {
			return library + " has no home here"
		}
		return fmt.Sprintf("%s has its home in %s; %s is handed what it needs as a value or a function",
			library, strings.Join(rooms, ", "), room)
	}
	return ""
}

func roomsBelow(floor int) string {
	rooms := slices.Sorted(slices.Values(slices.Concat(floors[:floor]...)))
	return strings.Join(slices.DeleteFunc(rooms, func(room string) bool { return room == testsOnly }), ", ")
}

func arrows() string {
	var drawn []string
	for _, rooms := range floors {
		drawn = append(drawn, strings.Join(rooms, " "))
	}
	return "the arrows go down, never sideways: " + strings.Join(drawn, " < ")
}
