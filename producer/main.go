// Command producer polls Microsoft Graph's log of PSTN calls and publishes each row to Kafka exactly once.
// See doc.go for a tour of the code, and `producer help` for the commands.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"pstncalls/internal/config"
	"pstncalls/internal/kafka"
)

// Exit codes: a contract with the programs that drive this one.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2
	exitForeign = 3 // the state belongs to another group
)

// env is what a command has from the outside.
type env struct {
	environ        []string
	stdin          io.Reader
	stdout, stderr io.Writer
}

// command is one word of the command line.
type command struct {
	name     string
	synopsis string // one line
	help     string // what --help prints before the flags: a paragraph and an example
	run      func(ctx context.Context, e env, args []string) error
}

func commands() []command {
	return []command{
		runCommand(), demoCommand(), checkCommand(), statusCommand(), verifyCommand(), scanCommand(), forgetCommand(), tailCommand(), schemaCommand(), simulateCommand(), healthCommand(), versionCommand(),
	}
}

// usageError is a mistake on the command line.
type usageError struct {
	command string
	message string
}

func (e *usageError) Error() string { return e.message }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(dispatch(ctx, env{environ: os.Environ(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}, os.Args[1:]))
}

// dispatch runs the command that args name, and returns the exit code.
func dispatch(ctx context.Context, e env, args []string) int {
	name := "run"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	} else if len(args) > 0 && (args[0] == "-h" || args[0] == "--help" || args[0] == "-help") {
		name, args = "help", nil
	}
	if name == "help" {
		if len(args) == 0 {
			printHelp(e.stdout)
			return exitDone
		}
		name, args = args[0], []string{"--help"}
	}
	for _, c := range commands() {
		if c.name == name {
			return report(e.stderr, c.name, c.run(ctx, e, args))
		}
	}
	return report(e.stderr, "", &usageError{message: fmt.Sprintf("unknown command %q", name)})
}

func printHelp(w io.Writer) {
	fmt.Fprint(w, "producer publishes Microsoft Graph's log of PSTN calls to Kafka, each row exactly once.\n\nUsage: producer [command] [flags]\n\nCommands:\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-9s %s\n", c.name, c.synopsis)
	}
	fmt.Fprint(w, "\nWithout a command: run. `producer <command> --help` says more. All configuration is environment variables: `producer run --help` lists them.\n")
}

// report prints what went wrong and returns the exit code for it.
func report(w io.Writer, name string, err error) int {
	var usage *usageError
	var mistakes *config.Errors
	var foreign *kafka.ForeignGroupError
	switch {
	case err == nil, errors.Is(err, errHelp):
		return exitDone
	case errors.As(err, &usage):
		fmt.Fprintf(w, "producer: %s\nTry: producer %s--help\n", usage, spaced(name))
		return exitUsage
	case errors.As(err, &mistakes):
		fmt.Fprintf(w, "%s\nTry: producer run --help\n", mistakes)
		return exitUsage
	case errors.As(err, &foreign):
		fmt.Fprintf(w, "producer: %s\n", err)
		return exitForeign
	default:
		if !errors.Is(err, errSaid) {
			fmt.Fprintf(w, "producer: %s\n", err)
		}
		return exitFailed
	}
}

func spaced(name string) string {
	if name == "" {
		return ""
	}
	return name + " "
}
