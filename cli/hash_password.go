package cli

import (
	"bufio"
	"context"
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
The command prompts for the password without showing it. If stdin is not a terminal,
the password is its first line.`,
		Example: `  tiwsnap hash-password
  tiwsnap hash-password < password.txt`,
		Args: cobra.NoArgs,
	}
	output := outputFlag(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		word, err := readPassword(cmd.Context(), e)
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

// readPassword prompts twice for a password on a terminal, without echo. If stdin is not
// a terminal, it reads its first line. The error has an exit code.
func readPassword(ctx context.Context, e env) (string, error) {
	in, ok := e.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		line, err := bufio.NewReader(io.LimitReader(e.input(ctx), 2*password.MaxLength)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fail(exitUsage, "stdin: %w", err)
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	shown, err := term.GetState(int(in.Fd()))
	if err != nil {
		return "", fail(exitUsage, "terminal: %w", err)
	}
	ask := func(prompt string) (string, error) {
		fmt.Fprint(e.stderr, prompt)
		defer fmt.Fprintln(e.stderr)
		var b []byte
		read := make(chan error, 1)
		go func() {
			var err error
			b, err = term.ReadPassword(int(in.Fd()))
			read <- err
		}()
		select {
		case err := <-read:
			if err != nil {
				return "", fail(exitUsage, "terminal: %w", err)
			}
			return string(b), nil
		case <-ctx.Done(): // the read continues, with the echo off
			return "", errors.Join(ctx.Err(), term.Restore(int(in.Fd()), shown))
		}
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
