package env

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// maxFile is more than any certificate bundle or list of tenants has, in bytes.
const maxFile = 1 << 20

// ReadFile returns the contents of a regular file. Its errors hold neither path nor contents. Devices and pipes are refused:
// a start that waits for a pipe's writer shows nothing.
func ReadFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, unreadable(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, unreadable(err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("the file is larger than %d bytes", maxFile)
	}
	return text, nil
}

// unreadable returns err without its path.
func unreadable(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	return fmt.Errorf("the file cannot be read: %w", err)
}
