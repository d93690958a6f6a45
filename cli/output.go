package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"tiwsnap/tasks"
)

// outputFlag adds -o with the given formats; the first one is the default.
func outputFlag(cmd *cobra.Command, formats ...string) *string {
	o := cmd.Flags().StringP("output", "o", formats[0], "output `format`: "+strings.Join(formats, ", "))
	cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if !slices.Contains(formats, *o) {
			return fail(exitUsage, "--output %q: it must be one of %s", *o, strings.Join(formats, ", "))
		}
		return nil
	}
	return o
}

// printJSON prints v on one line, or indented.
func printJSON(w io.Writer, v any, indent bool) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if indent {
		enc.SetIndent("", "  ")
	}
	return enc.Encode(v)
}

// printLines prints each value as one line of JSON.
func printLines[T any](w io.Writer, all []T) error {
	for _, v := range all {
		if err := printJSON(w, v, false); err != nil {
			return err
		}
	}
	return nil
}

// printJSONList prints an object with one list, as its values are read. If more is not
// nil, the object also has "more": whether the list continues.
func printJSONList[T any](w io.Writer, name string, all iter.Seq2[T, error], more *bool) error {
	fmt.Fprintf(w, "{\n  %q: [", name)
	n := 0
	for v, err := range all {
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := printJSON(&b, v, true); err != nil {
			return err
		}
		if n++; n > 1 {
			io.WriteString(w, ",")
		}
		text := strings.TrimSuffix(b.String(), "\n")
		if _, err := io.WriteString(w, "\n    "+strings.ReplaceAll(text, "\n", "\n    ")); err != nil {
			return err
		}
	}
	end := "]"
	if n > 0 {
		end = "\n  ]"
	}
	if more != nil {
		end += fmt.Sprintf(",\n  \"more\": %t", *more)
	}
	_, err := io.WriteString(w, end+"\n}\n")
	return err
}

// printTable prints rows with aligned columns; the first row is the heading.
func printTable(w io.Writer, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				io.WriteString(tw, "\t")
			}
			io.WriteString(tw, plain(cell))
		}
		fmt.Fprintln(tw)
	}
	return tw.Flush()
}

// printFields prints pairs of name and value in two columns, without empty values.
func printFields(w io.Writer, pairs ...any) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := 0; i < len(pairs); i += 2 {
		if v := fmt.Sprint(pairs[i+1]); v != "" {
			fmt.Fprintf(tw, "%s\t%s\n", pairs[i], plain(v))
		}
	}
	return tw.Flush()
}

// plain escapes control characters and line breaks.
func plain(s string) string { return escape(s, "") }

// roomName returns the name of a room for people.
func roomName(r tasks.Room) string {
	return fmt.Sprintf("room %d of app %d", r.RoomId, r.SdkAppId)
}
