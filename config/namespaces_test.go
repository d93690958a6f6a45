package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tiwsnap/config"
)

const twoNamespaces = `
redis: {url: "redis://h:1/0"}
callback: {addr: ":8081", url: "https://top.example.com", key: kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk}
retention: 24h
tencentcloud: {secret_id: top, secret_key: topkey, token: toptoken}
namespaces:
- name: school-a
  tiw: {endpoint: "https://a.example.com"}
  rate: {limit: 5}
  schedules:
  - {name: daily, cron: "0 18 * * *", timezone: UTC, rooms: {file: testdata/none.csv}}
- name: school-b
  tencentcloud: {secret_id: b, secret_key: bkey}
  callback: {url: "https://b.example.com"}
`

func yamlFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tiwsnap.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The entry of a namespace overrides the environment and the top level of the file. An API key is never combined from
// two levels.
func TestNamespaces(t *testing.T) {
	src := config.Source{File: yamlFile(t, twoNamespaces), Environ: []string{"TIWSNAP_RATE_LIMIT=10"}}
	all, err := config.LoadAll(src, config.Credentials)
	if err != nil || len(all) != 2 {
		t.Fatalf("LoadAll() returned %d namespaces, %v, want 2", len(all), err)
	}
	a, b := all[0], all[1]
	if a.Namespace != "school-a" || a.TIW.Endpoint != "https://a.example.com" || a.Rate.Limit != 5 ||
		a.TencentCloud.SecretID.Reveal() != "top" || a.Callback.URL != "https://top.example.com" || len(a.Schedules) != 1 {
		t.Errorf("namespace school-a: %+v", a)
	}
	if b.Namespace != "school-b" || b.TIW.Endpoint != config.ChinaEndpoint || b.Rate.Limit != 10 ||
		b.TencentCloud.SecretID.Reveal() != "b" || !b.TencentCloud.Token.Empty() ||
		b.Callback.URL != "https://b.example.com" || len(b.Schedules) != 0 || b.Retention != a.Retention {
		t.Errorf("namespace school-b: %+v", b)
	}
	src.Environ = append(src.Environ, "TIWSNAP_NAMESPACE=school-b")
	if one, err := config.Load(src); err != nil || one.Namespace != "school-b" ||
		one.TencentCloud.SecretKey.Reveal() != "bkey" {
		t.Errorf("Load() with TIWSNAP_NAMESPACE = %+v, %v", one, err)
	}

	// The printed configuration has the same namespaces and shows no secret.
	var text strings.Builder
	if err := config.PrintAll(&text, all); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"topkey", "bkey", "kkkk"} {
		if strings.Contains(text.String(), secret) {
			t.Errorf("PrintAll() shows a secret:\n%s", &text)
		}
	}
	if strings.Count(text.String(), "secret_key: '***'") != 2 || strings.Count(text.String(), "name: school-") != 2 ||
		strings.Count(text.String(), "\nnamespaces:") != 1 {
		t.Errorf("PrintAll() printed\n%s", &text)
	}
}

// Each error is reported once. It names the namespace unless it applies to all namespaces.
func TestNamespaceErrors(t *testing.T) {
	for name, test := range map[string]struct {
		text, environ string
		want          []string
	}{
		"unknown namespace": {
			twoNamespaces, "TIWSNAP_NAMESPACE=school-c",
			[]string{`TIWSNAP_NAMESPACE: "school-c" is not one of the file's namespaces: school-a, school-b`},
		},
		"settings of the whole process": {
			"namespaces:\n- name: a\n  http: {addr: \":1\"}\n  callback: {addr: \":2\"}\n", "",
			[]string{":3: http: applies to the whole process", ":4: callback.addr: applies to the whole process"},
		},
		"missing name, name twice, unknown setting": {
			"namespaces:\n- rate: {limit: 5}\n- name: a\n- name: a\n- name: b\n  rate: {limits: 5}\n", "",
			[]string{":2: namespaces.name: is missing", `:4: namespaces.name: "a" appears twice`,
				":6: rate.limits: is not a setting"},
		},
		"namespace and schedules beside the list": {
			"namespace: a\nnamespaces:\n- name: a\nschedules:\n- {name: d, cron: \"0 1 * * *\", timezone: UTC, " +
				"rooms: {file: x.csv}}\n", "",
			[]string{"namespace: cannot be used with namespaces", "schedules: not allowed beside namespaces"},
		},
		"not a list": {"namespaces: a\n", "", []string{"namespaces: must be a list"}},
		"error of one namespace": {
			"tencentcloud: {secret_id: i, secret_key: k}\nnamespaces:\n- name: a\n- name: b\n  tencentcloud: " +
				"{secret_id: x}\n", "",
			[]string{"namespace b: TENCENTCLOUD_SECRET_KEY: is missing"},
		},
		"shared image store": {
			"tencentcloud: {secret_id: i, secret_key: k}\nimages: {store: \"file:///srv/boards\"}\nnamespaces:\n" +
				"- name: a\n- name: b\n", "",
			[]string{"namespace b: images.store: another namespace uses the same store"},
		},
		"error of all namespaces": {
			"namespaces:\n- name: a\n- name: b\n", "",
			[]string{"TENCENTCLOUD_SECRET_ID: is missing", "TENCENTCLOUD_SECRET_KEY: is missing"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.LoadAll(config.Source{File: yamlFile(t, test.text), Environ: []string{test.environ}},
				config.Credentials)
			if err == nil {
				t.Fatal("LoadAll() = nil, want an error")
			}
			if name == "error of all namespaces" && strings.Contains(err.Error(), "namespace a") {
				t.Errorf("an error of all namespaces names one: %v", err)
			}
			for _, want := range test.want {
				if strings.Count(err.Error(), want) != 1 {
					t.Errorf("error must have %q once:\n%v", want, err)
				}
			}
		})
	}
}

// A namespace can turn off the callbacks that the top level of the file turns on.
func TestNamespaceWithoutCallbacks(t *testing.T) {
	file := yamlFile(t, `
callback: {addr: ":8081", url: "https://top.example.com", key: kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk}
namespaces:
- name: school-a
- name: school-b
  callback: {url: ""}
  tiw: {callback_url: "https://own.example.com/hook"}
`)
	all, err := config.LoadAll(config.Source{File: file})
	if err != nil || len(all) != 2 {
		t.Fatalf("LoadAll() returned %d namespaces, %v, want 2", len(all), err)
	}
	a, b := all[0], all[1]
	if a.Callback.URL != "https://top.example.com" || b.Callback.URL != "" || b.Callback.Addr != ":8081" ||
		b.TIW.CallbackURL.Reveal() != "https://own.example.com/hook" {
		t.Errorf("callbacks of school-a %+v, school-b %+v", a.Callback, b)
	}
	top := yamlFile(t, "callback: {addr: \":8081\", url: \"\"}\nnamespaces: [{name: school-a}]\n")
	_, err = config.LoadAll(config.Source{File: top})
	if err == nil || !strings.Contains(err.Error(), "TIWSNAP_CALLBACK_URL: is missing") {
		t.Errorf("callback address without a URL: %v", err)
	}
}
