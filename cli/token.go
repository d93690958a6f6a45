package cli

import (
	"github.com/spf13/cobra"

	"tiwsnap/internal/password"
)

func newToken(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Create an access token for a program",
		Long: `Create an access token for a program. Give the token to the program, which sends it as
"Authorization: Bearer TOKEN". Put the hash into a line of TIWSNAP_HTTP_TOKENS: NAME
ROLES HASH. The command stores neither.`,
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
		return printFields(e.stdout, "token", token, "hash", hash)
	}
	return cmd
}
