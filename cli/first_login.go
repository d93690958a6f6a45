package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"tiwsnap/internal/password"
)

// The files and the user that first-login creates.
const (
	usersFile      = "users"
	sessionKeyFile = "session_key"
	firstUser      = "admin"
)

func newFirstLogin(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "first-login FOLDER",
		Short: "Create the first user of the pages, with a random password",
		Long: `Create the first user of the pages: admin, with the role operate and a random password.
The password is printed once; only its hash is stored.

Two files are written into FOLDER, which must exist: users, for TIWSNAP_HTTP_USERS_FILE,
and session_key, for TIWSNAP_HTTP_SESSION_KEY_FILE. Only their owner can read them.
Existing files are kept. If TIWSNAP_HTTP_USERS is set, its users are written instead
of admin.`,
		Example: `  tiwsnap first-login /run/tiwsnap
  tiwsnap first-login --reset /run/tiwsnap   # a new password; then send SIGHUP to the worker`,
		Args: cobra.ExactArgs(1),
	}
	reset := cmd.Flags().Bool("reset", false, "replace all users by a new admin")
	url := cmd.Flags().String("url", "", "`URL` of the pages, printed with the password")
	output := outputFlag(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := loadConfig(cmd, e)
		if err != nil {
			return err
		}
		users, sessionKey := filepath.Join(args[0], usersFile), filepath.Join(args[0], sessionKeyFile)
		there := func(file string) bool {
			_, statErr := os.Stat(file)
			if statErr != nil && !errors.Is(statErr, fs.ErrNotExist) {
				err = statErr
			}
			return statErr == nil
		}
		hasUsers, hasKey := there(users), there(sessionKey)
		if err != nil {
			return fail(exitUnavailable, "%w", err)
		}
		if !hasKey {
			if err := writePrivate(sessionKey, rand.Text()+rand.Text()); err != nil {
				return err
			}
		}
		switch {
		case len(c.HTTP.Users) > 0:
			var text []string
			for _, u := range c.HTTP.Users {
				text = append(text, fmt.Sprintf("%s %s %s", u.Name, strings.Join(u.Roles, ","), u.Hash.Reveal()))
			}
			if err := writePrivate(users, text...); err != nil {
				return err
			}
			fmt.Fprintf(e.stderr, "%s now has the users of TIWSNAP_HTTP_USERS\n", users)
			return nil
		case hasUsers && !*reset:
			fmt.Fprintf(e.stderr, "%s exists and is kept; its password was printed when it was created. "+
				"--reset creates a new one\n", users)
			return nil
		}
		word := newPassword()
		hash, err := password.Hash(word)
		if err != nil {
			return err
		}
		if err := writePrivate(users, fmt.Sprintf("%s operate %s", firstUser, hash)); err != nil {
			return err
		}
		fmt.Fprintf(e.stderr, "This password is printed only once: %s stores its hash.\n", users)
		if *output == "json" {
			return printJSON(e.stdout, map[string]string{"pages": *url, "user": firstUser, "password": word}, true)
		}
		return printFields(e.stdout, "pages", *url, "user", firstUser, "password", word)
	}
	return cmd
}

// newPassword returns a password of 100 random bits, as abcde-fghij-klmno-pqrst.
func newPassword() string {
	s := strings.ToLower(rand.Text())
	return strings.Join([]string{s[:5], s[5:10], s[10:15], s[15:20]}, "-")
}

// writePrivate atomically replaces a file that only its owner can read. The error has an
// exit code.
func writePrivate(file string, lines ...string) error {
	// The error names file instead of the temporary file.
	failed := func(err error) error {
		var path *fs.PathError
		var link *os.LinkError
		if errors.As(err, &path) {
			err = path.Err
		} else if errors.As(err, &link) {
			err = link.Err
		}
		return fail(exitUnavailable, "%s cannot be written: %w", file, err)
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".new-*") // mode 0600
	if err != nil {
		return failed(err)
	}
	defer os.Remove(f.Name()) // fails after the rename
	_, err = f.WriteString(strings.Join(lines, "\n") + "\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return failed(err)
	}
	return nil
}
