package main

import (
	"flag"
	"fmt"
	"io"

	"aigateway/gateway/keys"
)

// keygen is the command that draws a key: the key goes to stdout, and behind it its line for KEYS_FILE, which holds its hash.
func keygen(args []string, stdout, stderr io.Writer) int {
	set := flag.NewFlagSet("gateway keygen", flag.ContinueOnError)
	set.SetOutput(stderr)
	id := set.String("id", "", "what the tenant is called in logs and metrics: `NAME`; one is drawn if it is empty")
	switch err := set.Parse(args); {
	case err == flag.ErrHelp:
		return 0
	case err != nil:
		return exitUsage
	case set.NArg() > 0:
		fmt.Fprintf(stderr, "gateway keygen: unexpected argument %q\n", set.Arg(0))
		return exitUsage
	}
	key, line, err := keys.Generate(*id)
	if err != nil {
		fmt.Fprintf(stderr, "gateway keygen: -id: %v\n", err)
		return exitUsage
	}
	if _, err := fmt.Fprintf(stdout, "%s\n%s\n", key, line); err != nil {
		fmt.Fprintf(stderr, "gateway keygen: cannot print the key: %v\n", err)
		return exitFailed
	}
	return 0
}
