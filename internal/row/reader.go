package row

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// reader is a decoder of JSON that is already in memory, to be used again for the next text without an allocation.
type reader struct {
	jsontext.Decoder
	src bytes.Buffer
}

// open makes b the text to be read. The decoder reads from a bytes.Buffer in place, and never writes to it.
func (r *reader) open(b []byte, opts []jsontext.Options) {
	r.src = *bytes.NewBuffer(b)
	r.Reset(&r.src, opts...)
}
