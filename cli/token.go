package cli

import (
	"github.com/spf13/cobra"

	"tiwsnap/internal/password"
)

func newToken(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Create an access token for a program",
		Long: `Make an access token for a program. The token goes to the program, which sends it
as "Authorization: Bearer TOKEN"; the hash goes into a line of TIWSNAP_HTTP_TOKENS:
NAME ROLES HASH. Nothing of it is kept.`,
		Example: `  tiwsnap token
  tiwsnap token -o json`,
		Args: cobra.NoArgs,
	}
	output := outputFlag(cmd, "table", "json")
	cmd.RunE = func(*cobra.Command, []string) error {
		token := password.NewToken()
		hash := password.HashToken(token)
		if *output == "json" {
			return printJSON(e.stdout, map[string]string{"token": token, "hash": hash}, true)
		}
		return fields(e.stdout, "token", token, "hash", hash)
	}
	return cmd
}
