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

	"tiwsnap/password"
)

func newHashPassword(e env) *cobra.Command {
	return &cobra.Command{
		Use:   "hash-password",
		Short: "Ask for a password and print its hash, for TIWSNAP_HTTP_USERS",
		Long: `Ask for a password, without showing it, and print its argon2id hash, for a line of
TIWSNAP_HTTP_USERS: NAME ROLES HASH. Where stdin is not a terminal its first line is
the password.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			word, err := readPassword(e)
			if err != nil {
				return err
			}
			hash, err := password.Hash(word)
			if err != nil {
				return fail(exitUsage, "%w", err)
			}
			_, err = fmt.Fprintln(e.stdout, hash)
			return err
		},
	}
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
