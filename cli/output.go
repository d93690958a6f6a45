package cli

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
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

// printJSON prints v on one line, or indented if it is for reading.
func printJSON(w io.Writer, v any, indent bool) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if indent {
		enc.SetIndent("", "  ")
	}
	return enc.Encode(v)
}

// fields prints names and values in two columns, leaving out empty values.
func fields(w io.Writer, pairs ...any) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := 0; i < len(pairs); i += 2 {
		if v := fmt.Sprint(pairs[i+1]); v != "" {
			fmt.Fprintf(tw, "%s\t%s\n", pairs[i], plain(v))
		}
	}
	return tw.Flush()
}

// plain replaces control characters, which could command a terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '\uFFFD'
		}
		return r
	}, s)
}

// csvText makes user text harmless in a spreadsheet: a cell that would be read
// as a formula gets an apostrophe in front.
// See https://owasp.org/www-community/attacks/CSV_Injection.
func csvText(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

// resultHeader is the first line of a batch's result list.
func resultHeader(labels []string) []string {
	h := []string{"Snapshot", "SdkAppId", "RoomId", "State", "Code", "Message", "TaskID", "RequestId", "Attempts", "Total", "Snapshots"}
	for _, l := range labels {
		h = append(h, csvText("Label."+l))
	}
	return h
}

// resultRow is the line of one snapshot: the image URLs are in one cell,
// separated by blanks.
func resultRow(s result, labels []string) []string {
	r := []string{
		s.ID, fmt.Sprint(s.Room.SdkAppId), fmt.Sprint(s.Room.RoomId), string(s.State), s.Code, csvText(s.Message),
		s.TaskID, s.RequestID, fmt.Sprint(s.Attempts), fmt.Sprint(len(s.Images)), strings.Join(s.Images, " "),
	}
	for _, l := range labels {
		r = append(r, csvText(s.Room.Label[l]))
	}
	return r
}

func writeCSV(w *csv.Writer, row []string) error {
	if err := w.Write(row); err != nil {
		return err
	}
	return w.Error()
}

// roomWords names a room for people.
func roomWords(r tasks.Room) string {
	return fmt.Sprintf("room %d of app %d", r.RoomId, r.SdkAppId)
}
