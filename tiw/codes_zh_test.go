package tiw_test

import (
	"slices"
	"testing"
	"unicode"

	"tiwsnap/tiw"
)

func TestEveryCodeIsExplainedInChinese(t *testing.T) {
	english, chinese := tiw.Codes(), tiw.ChineseCodes()
	if !slices.Equal(english, chinese) {
		t.Errorf("the codes are\n%q, in Chinese\n%q", english, chinese)
	}
	han := func(s string) bool {
		return slices.ContainsFunc([]rune(s), func(c rune) bool { return unicode.Is(unicode.Han, c) })
	}
	for _, code := range append(english, "Nobody.Knows", "InternalError.Nobody", "") {
		meaning, fix := tiw.Chinese(code)
		if !han(meaning) || !han(fix) {
			t.Errorf("%s: %q, %q", code, meaning, fix)
		}
	}
	family, _ := tiw.Chinese("InternalError")
	if a, _ := tiw.Chinese("InternalError.Nobody"); a != family {
		t.Errorf("a code that is not known is not of its family: %s", a)
	}
}
