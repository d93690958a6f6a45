package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"tiwsnap/internal/password"
)

func newHashPassword(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hash-password",
		Short: "Hash a password, for TIWSNAP_HTTP_USERS",
		Long: `Hash a password with argon2id, for a line of TIWSNAP_HTTP_USERS: NAME ROLES HASH.
It is asked for and not shown; where stdin is not a terminal its first line is the
password.`,
		Example: `  tiwsnap hash-password
  tiwsnap hash-password < password.txt`,
		Args: cobra.NoArgs,
	}
	output := outputFlag(cmd, "table", "json")
	cmd.RunE = func(*cobra.Command, []string) error {
		word, err := readPassword(e)
		if err != nil {
			return err
		}
		hash, err := password.Hash(word)
		if err != nil {
			return fail(exitUsage, "%w", err)
		}
		if *output == "json" {
			return printJSON(e.stdout, map[string]string{"hash": hash}, true)
		}
		_, err = fmt.Fprintln(e.stdout, hash)
		return err
	}
	return cmd
}

// readPassword reads a password: twice from a terminal, where it is not shown,
// or the first line of stdin. The error is ready to return.
func readPassword(e env) (string, error) {
	in, ok := e.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		line, err := bufio.NewReader(io.LimitReader(e.stdin, 2*password.MaxLength)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fail(exitUsage, "stdin: %w", err)
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	ask := func(prompt string) (string, error) {
		fmt.Fprint(e.stderr, prompt)
		b, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(e.stderr)
		if err != nil {
			return "", fail(exitUsage, "terminal: %w", err)
		}
		return string(b), nil
	}
	word, err := ask("Password: ")
	if err != nil {
		return "", err
	}
	again, err := ask("Again: ")
	if err == nil && again != word {
		err = fail(exitUsage, "the two passwords differ")
	}
	return word, err
}
