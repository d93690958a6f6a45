// Package examples contains the class lists and the configuration file that the
// documentation uses. The demo runs one of them.
package examples

import _ "embed"

// Class is class.csv: 240 rooms in three classes that end at the same time.
//
//go:embed class.csv
var Class []byte
