package tiw_test

import (
	"slices"
	"testing"
	"unicode"

	"tiwsnap/tiw"
)

func TestChineseExplanations(t *testing.T) {
	english, chinese := tiw.Codes(), tiw.ChineseCodes()
	if !slices.Equal(english, chinese) {
		t.Errorf("the Chinese explanations have the codes\n%q, want\n%q", chinese, english)
	}
	han := func(s string) bool {
		return slices.ContainsFunc([]rune(s), func(c rune) bool { return unicode.Is(unicode.Han, c) })
	}
	for _, code := range append(english, "Nobody.Knows", "InternalError.Nobody", "") {
		meaning, fix := tiw.Chinese(code)
		if !han(meaning) || !han(fix) {
			t.Errorf("Chinese(%q) = %q, %q, want two Chinese texts", code, meaning, fix)
		}
	}
	family, _ := tiw.Chinese("InternalError")
	if got, _ := tiw.Chinese("InternalError.Nobody"); got != family {
		t.Errorf("Chinese(InternalError.Nobody) = %q, want %q, as for InternalError", got, family)
	}
}
