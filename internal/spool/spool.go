// Package spool buffers data until they are complete: a little in memory, the rest in a temporary file.
package spool

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// inMemory is how much is kept in memory, in bytes.
const inMemory = 256 << 10

// Spool is an io.Writer whose data can be read afterwards. The zero value is empty and ready. It is not safe for
// concurrent use. Close it.
type Spool struct {
	buf    bytes.Buffer // what is not in the file
	file   *os.File     // nil while all is in memory
	linked bool         // the file still has its name
}

// Write adds data. The error is that of the temporary file, which is in $TMPDIR, by default /tmp.
func (s *Spool) Write(p []byte) (int, error) {
	s.buf.Write(p)
	if s.buf.Len() < inMemory {
		return len(p), nil
	}
	return len(p), s.flush()
}

func (s *Spool) flush() error {
	if s.file == nil {
		f, err := os.CreateTemp("", "tiwsnap-")
		if err != nil {
			return fmt.Errorf("make a temporary file: %w", err)
		}
		// Without a name it is gone with the process, however that ends. Not
		// every system can do that to an open file.
		s.file, s.linked = f, os.Remove(f.Name()) != nil
	}
	if _, err := s.buf.WriteTo(s.file); err != nil {
		return fmt.Errorf("write a temporary file: %w", err)
	}
	return nil
}

// Reader returns a reader of all data. Nothing may be written after it. It is valid until Reset or Close. There may be
// several.
func (s *Spool) Reader() (io.Reader, error) {
	if s.file == nil {
		return bytes.NewReader(s.buf.Bytes()), nil
	}
	if err := s.flush(); err != nil {
		return nil, err
	}
	info, err := s.file.Stat()
	if err != nil {
		return nil, fmt.Errorf("read a temporary file: %w", err)
	}
	return io.NewSectionReader(s.file, 0, info.Size()), nil
}

// Reset empties the spool for new data. It keeps its memory and its temporary file.
func (s *Spool) Reset() error {
	s.buf.Reset()
	if s.file == nil {
		return nil
	}
	_, err := s.file.Seek(0, io.SeekStart)
	if err == nil {
		err = s.file.Truncate(0)
	}
	if err != nil {
		return fmt.Errorf("empty a temporary file: %w", err)
	}
	return nil
}

// Close removes the data. It may be called more than once.
func (s *Spool) Close() {
	s.buf = bytes.Buffer{}
	if s.file == nil {
		return
	}
	s.file.Close()
	if s.linked {
		os.Remove(s.file.Name())
	}
	s.file = nil
}
