package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"tiwsnap/internal/plural"
	"tiwsnap/internal/rooms"
	"tiwsnap/tasks"
)

// maxShownFaults is the number of bad rows and of notes that are printed; the rest is
// counted.
const maxShownFaults = 100

// classList reads a class list and reports bad rows on stderr.
type classList struct {
	e      env
	file   string
	strict bool
	bad    int
	notes  int
	err    error // the reason if nothing can be enqueued
}

// rooms reads the rooms of a list. It prints bad rows and notes. It ends with an error if
// the list cannot be read, has no valid row, or has a bad row with --strict.
func (l *classList) rooms(in io.Reader, o rooms.Options) iter.Seq2[tasks.Room, error] {
	o.Notes = func(n rooms.Note) {
		if l.notes++; l.notes <= maxShownFaults {
			fmt.Fprintf(l.e.stderr, "%s: %s\n", l.file, plain(n.String()))
		}
	}
	return func(yield func(tasks.Room, error) bool) {
		good := 0
		for row, err := range rooms.Read(in, o) {
			var bad *rooms.RowError
			switch {
			case errors.As(err, &bad):
				if l.bad++; l.bad <= maxShownFaults {
					fmt.Fprintf(l.e.stderr, "%s: %s\n", l.file, plain(bad.Error()))
				}
			case err != nil:
				l.err = err
				yield(tasks.Room{}, err)
				return
			case l.strict && l.bad > 0:
				// Nothing will be enqueued; read on to report all bad rows.
			default:
				good++
				if !yield(row.Room, nil) {
					return
				}
			}
		}
		switch {
		case l.strict && l.bad > 0:
			l.err = fmt.Errorf("%s, but --strict allows none", plural.Of(l.bad, "bad row"))
		case good == 0:
			l.err = errors.New("the list has no valid row")
		default:
			return
		}
		yield(tasks.Room{}, l.err)
	}
}

// check reads the rooms and prints their number. The error has an exit code.
func (l *classList) check(ctx context.Context, rooms iter.Seq2[tasks.Room, error], output string) error {
	good := 0
	for _, err := range rooms {
		if err == nil {
			good++
		}
	}
	l.more()
	switch {
	case ctx.Err() != nil:
		return fail(exitTempFail, "interrupted; the list was checked only in part")
	case l.err != nil:
		return fail(exitUsage, "%s: %w", l.file, l.err)
	case output == "table":
		fmt.Fprintf(l.e.stdout, "%s valid, %s; nothing was enqueued\n", plural.Of(good, "room"), plural.Of(l.bad, "bad row"))
		return badRowsExit(l.bad)
	}
	counts := map[string]any{"rooms": good, "bad_rows": l.bad}
	return cmp.Or(printJSON(l.e.stdout, counts, output == "json"), badRowsExit(l.bad))
}

// summary prints the number of rows left out.
func (l *classList) summary() {
	l.more()
	if l.bad > 0 && l.err == nil {
		fmt.Fprintf(l.e.stderr, "%s: %s\n", l.file, badRowsText(l.bad))
	}
}

// more prints the number of notes and bad rows that were not printed.
func (l *classList) more() {
	if l.notes > maxShownFaults {
		fmt.Fprintf(l.e.stderr, "%s: … and %s\n", l.file, plural.Of(l.notes-maxShownFaults, "more note"))
	}
	if l.bad > maxShownFaults {
		fmt.Fprintf(l.e.stderr, "%s: … and %s\n", l.file, plural.Of(l.bad-maxShownFaults, "more bad row"))
	}
}

// openList opens a class list; - is stdin. The error has an exit code.
func openList(ctx context.Context, e env, file string) (io.ReadCloser, error) {
	if file == "-" {
		return io.NopCloser(e.input(ctx)), nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fail(exitUsage, "class list: %w", err)
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		f.Close()
		return nil, fail(exitUsage, "class list: %s is a folder", file)
	}
	return f, nil
}
