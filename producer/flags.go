package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

var (
	errHelp = errors.New("help was asked for")
	errSaid = errors.New("the command has said what failed")
)

// parseFlags parses args into fs. --help prints the command's help and the flags on stdout; a mistake is a usageError.
func parseFlags(e env, c command, fs *flag.FlagSet, args []string, more ...func(io.Writer)) error {
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(e.stdout, "%s\n\n%s\n", strings.TrimSpace(c.synopsis), strings.TrimSpace(c.help))
		n := 0
		fs.VisitAll(func(*flag.Flag) { n++ })
		if n > 0 {
			fmt.Fprint(e.stdout, "\nFlags:\n")
			fs.SetOutput(e.stdout)
			fs.PrintDefaults()
		}
		for _, m := range more {
			m(e.stdout)
		}
		return errHelp
	case err != nil:
		return &usageError{command: c.name, message: err.Error()}
	case fs.NArg() > 0:
		return &usageError{command: c.name, message: fmt.Sprintf("%s takes no argument %q", c.name, fs.Arg(0))}
	}
	return nil
}
