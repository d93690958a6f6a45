package cli

import (
	"io"
	"os"
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"

	"tiwsnap/config"
)

// Every command line and variable in docker-compose.yml is one that this
// binary takes.
func TestCompose(t *testing.T) {
	text, err := os.ReadFile("../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	type service struct {
		Image       string
		Build       string
		Command     []string
		Environment map[string]string
		ReadOnly    bool `yaml:"read_only"`
		Deploy      struct{ Replicas int }
		Healthcheck struct{ Test []string }
		DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	}
	var file struct{ Services map[string]service }
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	ours := 0
	for name, s := range file.Services {
		if len(s.Healthcheck.Test) < 2 || s.Healthcheck.Test[0] != "CMD" {
			t.Errorf("%s: health check %q", name, s.Healthcheck.Test)
		}
		if s.Build == "" {
			continue
		}
		ours++
		checkArgs(t, name, s.Command)
		if s.Healthcheck.Test[1] != "/tiwsnap" {
			t.Errorf("%s: there is no %s in the image", name, s.Healthcheck.Test[1])
		}
		checkArgs(t, name, s.Healthcheck.Test[2:])
		var environ []string
		for k, v := range s.Environment {
			environ = append(environ, k+"="+v)
		}
		if _, err := config.Load(config.Source{Environ: environ}, config.Credentials); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for other, d := range s.DependsOn {
			if _, ok := file.Services[other]; !ok || d.Condition != "service_healthy" {
				t.Errorf("%s depends on %s, condition %q", name, other, d.Condition)
			}
		}
	}
	if ours != 2 || file.Services["worker"].Deploy.Replicas != 2 {
		t.Errorf("%d services of ours, %d workers; want a simulator and two workers", ours, file.Services["worker"].Deploy.Replicas)
	}
	redis := file.Services["redis"].Command
	for _, want := range [][]string{{"--appendonly", "yes"}, {"--appendfsync", "everysec"}, {"--maxmemory-policy", "noeviction"}} {
		i := slices.Index(redis, want[0])
		if i < 0 || i+1 >= len(redis) || redis[i+1] != want[1] {
			t.Errorf("redis runs without %v: %v", want, redis)
		}
	}
}

// checkArgs checks a command line as far as it goes without running it.
func checkArgs(t *testing.T, where string, args []string) {
	t.Helper()
	root := newRoot(env{stdin: os.Stdin, stdout: io.Discard, stderr: io.Discard})
	cmd, rest, err := root.Find(args)
	if err == nil && !cmd.Runnable() {
		t.Errorf("%s: tiwsnap %q is no command", where, args)
		return
	}
	if err == nil {
		err = cmd.ParseFlags(rest)
	}
	if err == nil {
		err = cmd.ValidateArgs(cmd.Flags().Args())
	}
	if err == nil && cmd.PreRunE != nil {
		err = cmd.PreRunE(cmd, cmd.Flags().Args())
	}
	if err != nil {
		t.Errorf("%s: tiwsnap %q: %v", where, args, err)
	}
}
