// Command tiwsnap snapshots Tencent Interactive Whiteboards through a
// rate-limited job queue. See README.md.
package main

import (
	"os"

	"tiwsnap/cli"
)

func main() { os.Exit(cli.Run(os.Args[1:])) }
