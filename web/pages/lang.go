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

// lang is a language of the pages, and the index of its words.
type lang int

// The languages.
const (
	english lang = iota
	chinese
	languages = 2
)

// String is the language tag (BCP 47).
func (l lang) String() string { return [languages]string{"en", "zh-CN"}[l] }

// Name is what the language calls itself.
func (l lang) Name() string { return [languages]string{"English", "中文"}[l] }

var matcher = language.NewMatcher([]language.Tag{language.English, language.SimplifiedChinese})

// langOf is the language that was chosen, or else the browser's.
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

// text is a text of the catalog with what stands in it.
type text struct {
	Key  string
	Args []any
}

func say(key string, args ...any) text { return text{key, args} }

// raw is a text that others wrote.
func raw(s string) text { return text{"%s", []any{s}} }

// say is a text of the catalog in the language, with what stands in it. Where its
// first part is a number its words may be two, as for number.
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

// known is the text of the catalog for a name that programs use, or else the name.
func (l lang) known(key, name string) string {
	if words, ok := catalog[key]; ok {
		return words[l]
	}
	return name
}

// number is a text about a number: its words are those for one and, after "|",
// those for any other number, where the language tells them apart.
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

// count writes a number with its thousands apart.
func count(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// left writes a duration as people say it.
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

// roughly writes a duration by its greatest unit.
func (l lang) roughly(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf(l.say("time.s"), int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf(l.say("time.minutes"), int(d.Minutes()))
	}
	return fmt.Sprintf(l.say("time.hours"), int(d.Hours()))
}
