package pages

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/language"
)

// lang is a language of the pages, and the index of its texts.
type lang int

// The languages.
const (
	english lang = iota
	chinese
	languages = 2
)

// String returns the language tag (BCP 47).
func (l lang) String() string { return [languages]string{"en", "zh-CN"}[l] }

// Name returns the name of the language, in the language itself.
func (l lang) Name() string { return [languages]string{"English", "中文"}[l] }

var matcher = language.NewMatcher([]language.Tag{language.English, language.SimplifiedChinese})

// langOf returns the language that the user has chosen, or that of the browser.
func langOf(r *http.Request) lang {
	if c, err := r.Cookie(langCookie); err == nil {
		for l := range lang(languages) {
			if c.Value == l.String() {
				return l
			}
		}
	}
	_, i := language.MatchStrings(matcher, r.Header.Get("Accept-Language"))
	return lang(i)
}

// text is a text of the catalog with its arguments.
type text struct {
	Key  string
	Args []any
}

func say(key string, args ...any) text { return text{key, args} }

// raw is a text that is not in the catalog, as an error.
func raw(s string) text { return text{"%s", []any{s}} }

// translated is a text of another package, which the pages translate if they know it.
func translated(s string) text { return text{"translated", []any{s}} }

// say returns a text of the catalog. If its first argument is a number, the text may have two forms, as for number.
func (l lang) say(key string, args ...any) string {
	if words, ok := l.special(key, args); ok {
		return words
	}
	words, ok := catalog[key]
	if !ok {
		if !strings.Contains(key, "%") {
			return key // the catalog's test finds it
		}
		words = [languages]string{key, key}
	}
	if len(args) == 0 {
		return words[l]
	}
	format := words[l]
	if one, many, ok := strings.Cut(format, "|"); ok {
		if format = many; fmt.Sprint(args[0]) == "1" {
			format = one
		}
	}
	args = slices.Clone(args)
	for i, a := range args {
		switch a := a.(type) {
		case int:
			args[i] = count(a)
		case int64:
			args[i] = count(int(a))
		case text:
			args[i] = l.say(a.Key, a.Args...)
		case time.Duration:
			args[i] = l.left(a)
		}
	}
	return fmt.Sprintf(format, args...)
}

// known returns the text of the catalog for a name that programs use, or the name if there is none.
func (l lang) known(key, name string) string {
	if words, ok := catalog[key]; ok {
		return words[l]
	}
	return name
}

// number returns a text about a number. It has the form for 1 before "|" and the form for other numbers after it, if
// the language has both.
func (l lang) number(key string, n int, args ...any) string {
	one, many, ok := strings.Cut(catalog[key][l], "|")
	if ok && n != 1 {
		one = many
	}
	if !strings.Contains(one, "%") {
		return one
	}
	return l.say(one, append([]any{n}, args...)...)
}

// count formats a number with commas between the thousands.
func count(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// left formats a duration for people.
func (l lang) left(d time.Duration) string {
	switch d = max(d, 0).Round(time.Second); {
	case d < time.Minute:
		return fmt.Sprintf(l.say("time.s"), int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf(l.say("time.m"), int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf(l.say("time.h"), int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf(l.say("time.d"), int(d.Hours())/24)
}

// roughly formats a duration in its greatest unit.
func (l lang) roughly(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf(l.say("time.s"), int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf(l.say("time.minutes"), int(d.Minutes()))
	}
	return fmt.Sprintf(l.say("time.hours"), int(d.Hours()))
}
