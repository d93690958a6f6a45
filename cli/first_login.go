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

// The files that first-login makes.
const (
	usersFile      = "users"
	sessionKeyFile = "session_key"
	firstUser      = "admin"
)

func newFirstLogin(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "first-login FOLDER",
		Short: "Make a first user of the pages, with a random password",
		Long: `Write two files into FOLDER, which must exist: users, for TIWSNAP_HTTP_USERS_FILE,
and session_key, for TIWSNAP_HTTP_SESSION_KEY_FILE. Nobody but their owner can
read them. What is there already stays.

The user is admin, with the role operate and a random password. The password is
printed this once; users has its hash alone. Where TIWSNAP_HTTP_USERS names
users, users gets those instead.`,
		Example: `  tiwsnap first-login /run/tiwsnap
  tiwsnap first-login --reset /run/tiwsnap   # where the password was lost; then send SIGHUP`,
		Args: cobra.ExactArgs(1),
	}
	reset := cmd.Flags().Bool("reset", false, "replace the users and their passwords by a new one")
	url := cmd.Flags().String("url", "", "`URL` of the pages, to print it with the password")
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
			fmt.Fprintf(e.stderr, "%s has the users of TIWSNAP_HTTP_USERS\n", users)
			return nil
		case hasUsers && !*reset:
			fmt.Fprintf(e.stderr, "%s is there already and stays: the password was shown when it was made; "+
				"--reset makes another\n", users)
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
		fmt.Fprintf(e.stderr, "This password is shown once: %s has its hash alone.\n", users)
		if *output == "json" {
			return printJSON(e.stdout, map[string]string{"pages": *url, "user": firstUser, "password": word}, true)
		}
		return fields(e.stdout, "pages", *url, "user", firstUser, "password", word)
	}
	return cmd
}

// newPassword is one of 100 random bits, to be typed: abcde-fghij-klmno-pqrst.
func newPassword() string {
	s := strings.ToLower(rand.Text())
	return strings.Join([]string{s[:5], s[5:10], s[10:15], s[15:20]}, "-")
}

// writePrivate replaces a file, which only its owner can read, at once. The
// error is ready to return.
func writePrivate(file string, lines ...string) error {
	// The temporary file is nothing that anybody knows.
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
	defer os.Remove(f.Name()) // if it is still there
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
