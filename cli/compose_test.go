package cli

import (
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"tiwsnap/config"
)

// composeService has the fields of a service that the tests read.
type composeService struct {
	Build struct {
		Args map[string]string
	}
	Command     []string
	Environment map[string]string
	Restart     string
	ReadOnly    bool `yaml:"read_only"`
	Ports       []string
	Volumes     []string
	Deploy      struct{ Replicas int }
	Healthcheck struct{ Test []string }
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
}

func composeServices(t *testing.T) map[string]composeService {
	t.Helper()
	text, err := os.ReadFile("../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]composeService
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return file.Services
}

// interpolated matches a variable with a default value.
var interpolated = regexp.MustCompile(`\$\{\w+:-([^}]*)\}`)

// The pages must be able to read the simulator's images.
func TestComposeImages(t *testing.T) {
	services := composeServices(t)
	if c := services["simulator"].Command; slices.Contains(c, "--public-url") {
		t.Errorf("the simulator is %q: its images must be at the host of its API, which other containers reach", c)
	}
	if host := services["web"].Environment["TIWSNAP_IMAGES_PRIVATE"]; host != "simulator" {
		t.Errorf("the service web reads images from the private hosts %q, want simulator", host)
	}
}

// This binary must accept every command line and variable in docker-compose.yml.
func TestCompose(t *testing.T) {
	services := composeServices(t)
	// Other services read the files that the login service creates.
	login := t.TempDir()
	if _, errs, code := tiwsnap(t, nil, "first-login", login); code != exitOK {
		t.Fatal(errs)
	}
	dockerfile, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	env := regexp.MustCompile(`(?m)^ENV TIWSNAP_WORKER_SPOOL=(\S+)$`).FindSubmatch(dockerfile)
	if env == nil {
		t.Fatal("the image sets no spool folder; its user has no home folder for the default")
	}
	spool := string(env[1])
	tiwsnaps := 0
	for name, s := range services {
		// A one-shot service ends. Every other service has a health check.
		check, oneShot := s.Healthcheck.Test, s.Restart == "no"
		if !oneShot && (len(check) < 2 || check[0] != "CMD") {
			t.Errorf("%s: health check %q", name, check)
		}
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s: port %s is open to other machines", name, port)
			}
		}
		for other, d := range s.DependsOn {
			want := "service_healthy"
			if services[other].Restart == "no" {
				want = "service_completed_successfully" // or "up --wait" fails when it ends
			}
			if services[other].Command == nil || d.Condition != want {
				t.Errorf("%s depends on %s, condition %q", name, other, d.Condition)
			}
		}
		if s.Build.Args == nil {
			continue
		}
		tiwsnaps++
		if !s.ReadOnly {
			t.Errorf("%s: its root file system is not read-only", name)
		}
		checkArgs(t, name, s.Command)
		// Workers and pages write to the folder that the image sets.
		if c := s.Command[0]; (c == "worker" || c == "web") && !slices.Contains(s.Volumes, "spool:"+spool) {
			t.Errorf("%s: no volume is mounted at the spool folder %s", name, spool)
		}
		if !oneShot {
			// doctor would call Tencent, and fail in cases that a restart does not fix.
			if !slices.Equal(check[1:3], []string{"/tiwsnap", "health"}) {
				t.Errorf("%s: health check %q", name, check)
			}
			checkArgs(t, name, check[2:])
		}
		needs := []config.Need{config.Credentials}
		if name == "web" || name == "login" {
			needs = nil
		}
		var environ []string
		for k, v := range s.Environment {
			v = interpolated.ReplaceAllString(v, "$1")
			environ = append(environ, k+"="+strings.ReplaceAll(v, "/login/", login+"/"))
		}
		if _, err := config.Load(config.Source{Environ: environ}, needs...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if tiwsnaps != 4 || services["worker"].Deploy.Replicas != 2 {
		t.Errorf("%d services run tiwsnap, with %d workers; want simulator, worker (2), web and login",
			tiwsnaps, services["worker"].Deploy.Replicas)
	}
	if want := []string{"127.0.0.1:8080:8080"}; !slices.Equal(services["web"].Ports, want) {
		t.Errorf("the pages are published at %v, want %v", services["web"].Ports, want)
	}
	redis := services["redis"].Command
	for _, want := range [][]string{{"--appendonly", "yes"}, {"--appendfsync", "everysec"},
		{"--maxmemory-policy", "noeviction"}} {
		i := slices.Index(redis, want[0])
		if i < 0 || i+1 >= len(redis) || redis[i+1] != want[1] {
			t.Errorf("redis has no argument %v: %v", want, redis)
		}
	}
}

// checkArgs checks a command line without running it.
func checkArgs(t *testing.T, where string, args []string) {
	t.Helper()
	root := newRoot(env{stdin: os.Stdin, stdout: io.Discard, stderr: io.Discard})
	cmd, rest, err := root.Find(args)
	if err == nil && !cmd.Runnable() {
		t.Errorf("%s: tiwsnap %q is not a command", where, args)
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
