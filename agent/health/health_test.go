package health

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// play runs a check whose probes give the answers in turn ('.' works, 'x' fails, '-' hangs) and returns what changed when.
func play(t *testing.T, c Check, answers string) (changes []string) {
	synctest.Test(t, func(t *testing.T) {
		begun, n := time.Now(), 0
		ctx, cancel := context.WithCancel(t.Context())
		c.Probe = func(ctx context.Context) error {
			a := answers[n]
			if n++; n == len(answers) {
				defer cancel()
			}
			switch a {
			case 'x':
				return errors.New("broken")
			case '-':
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		c.Run(ctx, func(err error) {
			what := " healthy"
			if err != nil {
				what = " " + err.Error()
			}
			changes = append(changes, time.Since(begun).String()+what)
		})
	})
	return changes
}

func TestCheck(t *testing.T) {
	const broken = " 3 health checks in a row failed, the last one: broken"
	cases := map[string]struct {
		check   Check
		answers string
		want    []string
	}{
		"healthy once":              {Check{}, "....", []string{"10s healthy"}},
		"three failures in a row":   {Check{}, ".xx.xxx.", []string{"10s healthy", "1m10s" + broken, "1m20s healthy"}},
		"never healthy":             {Check{}, "xxxxx", []string{"30s" + broken}},
		"start period":              {Check{StartPeriod: time.Minute}, "xxxxxxxx.", []string{"1m20s" + broken, "1m30s healthy"}},
		"healthy in start period":   {Check{StartPeriod: time.Hour}, ".xxxx", []string{"10s healthy", "40s" + broken}},
		"own interval and failures": {Check{Interval: time.Second, Failures: 1}, "xx", []string{"1s 1 health checks in a row failed, the last one: broken"}},
		"no answer":                 {Check{Failures: 1}, "-.", []string{"15s 1 health checks in a row failed, the last one: no answer within 5s", "20s healthy"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := play(t, c.check, c.answers+".") // the last answer is cut off with the run
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

func TestHTTP(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		case "/broken":
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer s.Close()
	for url, want := range map[string]string{
		s.URL:                 "",
		s.URL + "/moved":      "", // an answer; nobody follows it
		s.URL + "/broken":     "500",
		"http://192.0.2.1/":   "not this machine",
		"file:///etc/passwd":  "not an http URL",
		"https://localhost/":  "not an http URL",
		"http://127.0.0.1:1/": "refused",
	} {
		err := HTTP(url)(t.Context())
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
}

func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := TCP(l.Addr().String())(t.Context()); err != nil {
		t.Error(err)
	}
	if err := TCP("192.0.2.1:80")(t.Context()); err == nil || !strings.Contains(err.Error(), "not this machine") {
		t.Errorf("elsewhere: %v", err)
	}
	if err := TCP("nonsense")(t.Context()); err == nil {
		t.Error("an address without a port was taken")
	}
}
