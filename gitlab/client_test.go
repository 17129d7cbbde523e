package gitlab

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

// against is a client of a server that answers as told.
func against(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	c, err := New(Options{URL: srv.URL, Token: "secret-token", Timeout: 5 * time.Second, Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestOptionsAreValidated(t *testing.T) {
	for name, o := range map[string]Options{
		"no token":               {URL: "https://gitlab.example.com"},
		"no address":             {Token: "t"},
		"another scheme":         {URL: "ftp://gitlab.example.com", Token: "t"},
		"a password inside":      {URL: "https://a:b@gitlab.example.com", Token: "t"},
		"a console that is none": {URL: "https://gitlab.example.com", Token: "t", ConsoleURL: "slipway"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := New(o); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestWaitsThatGitLabAsksFor(t *testing.T) {
	for name, tt := range map[string]struct {
		header, value string
		want          time.Duration
	}{
		"nothing":             {"X-Nothing", "", 30 * time.Second},
		"seconds":             {"Retry-After", "7", 7 * time.Second},
		"a date":              {"Retry-After", noon.Add(90 * time.Second).Format(http.TimeFormat), 90 * time.Second},
		"a reset":             {"RateLimit-Reset", fmt.Sprint(noon.Add(time.Minute).Unix()), time.Minute},
		"a reset in the past": {"RateLimit-Reset", "1", 30 * time.Second},
		"a day":               {"Retry-After", "86400", 10 * time.Minute},
		"nonsense":            {"Retry-After", "soon", 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			c := against(t, func(w http.ResponseWriter, _ *http.Request) {
				calls++
				w.Header().Set(tt.header, tt.value)
				w.WriteHeader(http.StatusTooManyRequests)
			})
			_, err := c.Me(t.Context())
			f, ok := pipeline.AsFailure(err)
			if !ok || f.Permanent || f.Unknown || f.After != tt.want || calls != 1 {
				t.Errorf("got %+v after %d calls, want to wait %s after one", f, calls, tt.want)
			}
		})
	}
}

func TestReadsAreRepeatedAtOnceAndWritesAreNot(t *testing.T) {
	calls := map[string]int{}
	c := against(t, func(w http.ResponseWriter, r *http.Request) {
		calls[r.Method]++
		if r.Method == http.MethodGet && calls[r.Method] == 3 {
			_, _ = io.WriteString(w, `{"id": 9, "username": "slipway"}`)
			return
		}
		w.WriteHeader(http.StatusBadGateway)
	})
	if me, err := c.Me(t.Context()); err != nil || me.ID != 9 {
		t.Errorf("got %+v, %v", me, err)
	}
	_, err := c.createNote(t.Context(), &pipeline.Delivery{}, "x")
	if f, ok := pipeline.AsFailure(err); !ok || !f.Unknown || f.Permanent {
		t.Errorf("got %+v", f)
	}
	if diff := cmp.Diff(map[string]int{"GET": 3, "POST": 1}, calls); diff != "" {
		t.Error(diff)
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	t.Cleanup(other.Close)
	c := against(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+r.URL.Path, http.StatusMovedPermanently)
	})
	_, err := c.Me(t.Context())
	if f, ok := pipeline.AsFailure(err); !ok || !f.Permanent || !strings.Contains(f.Detail, "redirects") {
		t.Errorf("got %v", err)
	}
}

func TestAnEndlessAnswerIsCutOff(t *testing.T) {
	c := against(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"username": "`)
		block := bytes.Repeat([]byte("x"), 1<<16)
		for range 2 * maxAnswerBytes / len(block) {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	_, err := c.Me(t.Context())
	if f, ok := pipeline.AsFailure(err); !ok || !f.Permanent || !strings.Contains(f.Detail, "larger") {
		t.Errorf("got %v", err)
	}
}

func TestNetworkFailuresSayWhetherTheCallMayHaveArrived(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	refused, err := New(Options{URL: closed.URL, Token: "t"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = refused.createNote(t.Context(), &pipeline.Delivery{}, "x")
	if f, ok := pipeline.AsFailure(err); !ok || f.Permanent || f.Unknown || !strings.Contains(f.Detail, "connection refused") {
		t.Errorf("refused: got %+v", f)
	}
	broken := against(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	_, err = broken.createNote(t.Context(), &pipeline.Delivery{}, "x")
	if f, ok := pipeline.AsFailure(err); !ok || f.Permanent || !f.Unknown {
		t.Errorf("broken: got %+v", f)
	}
}

func TestAWithdrawnEffectReturnsPromptly(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := against(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	if _, err := c.Me(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestRefusalsQuoteGitLabAndNeverTheToken(t *testing.T) {
	c := against(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = fmt.Fprintf(w, `{"message": {"body": ["is too long", %q]}}`, strings.Repeat("x", 1000))
	})
	_, err := c.createNote(t.Context(), &pipeline.Delivery{}, "x")
	f, ok := pipeline.AsFailure(err)
	if !ok || !f.Permanent || !strings.Contains(f.Detail, "body is too long") || len([]rune(f.Detail)) > maxDetail || strings.Contains(f.Error(), "secret-token") {
		t.Errorf("got %+v", f)
	}
}

func TestAnAddressCountsOnlyWhereGitLabVouchesForIt(t *testing.T) {
	for name, tt := range map[string]struct {
		users string
		want  int64
		says  string
	}{
		"public":                        {`[{"id": 1, "public_email": "Ada@example.com"}]`, 1, ""},
		"confirmed, as admins see it":   {`[{"id": 1, "email": "ada@example.com", "confirmed_at": "2026-01-01T00:00:00Z"}]`, 1, ""},
		"unconfirmed, as admins see it": {`[{"id": 1, "email": "ada@example.com"}]`, 0, "No GitLab user"},
		"a user whose name is similar":  {`[{"id": 1, "name": "ada@example.com"}]`, 0, "No GitLab user"},
		"two of them":                   {`[{"id": 1, "public_email": "ada@example.com"}, {"id": 2, "public_email": "ada@example.com"}]`, 0, "Several"},
		"nobody":                        {`[]`, 0, "No GitLab user"},
	} {
		t.Run(name, func(t *testing.T) {
			c := against(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, tt.users) })
			var p policy.Person
			problem, err := c.byEmail(t.Context(), "ada@example.com", &p)
			if err != nil || p.ID != tt.want || !strings.Contains(problem, tt.says) || (tt.says == "") != (problem == "") {
				t.Errorf("got id %d, %q, %v", p.ID, problem, err)
			}
		})
	}
}

// archiveOf packs entries as GitLab does, below one top folder.
func archiveOf(t *testing.T, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	tw := tar.NewWriter(zw)
	for _, h := range entries {
		content := h.Name
		if h.Typeflag == tar.TypeReg && h.Size == 0 {
			h.Size = int64(len(content))
		}
		h.Mode = 0o644
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.CopyN(tw, io.MultiReader(strings.NewReader(content), zeros{}), h.Size); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestNothingInAnArchiveLeadsOutOfIt(t *testing.T) {
	tr, err := unpack(bytes.NewReader(archiveOf(t,
		tar.Header{Name: "top/", Typeflag: tar.TypeDir},
		tar.Header{Name: "top/a/b.yaml", Typeflag: tar.TypeReg},
		tar.Header{Name: "top/../../etc/passwd", Typeflag: tar.TypeReg},
		tar.Header{Name: "/etc/shadow", Typeflag: tar.TypeReg},
		tar.Header{Name: "top//x", Typeflag: tar.TypeReg},
		tar.Header{Name: "top/big", Typeflag: tar.TypeReg, Size: maxFileBytes + 1},
		tar.Header{Name: "top/a/b.yaml/below", Typeflag: tar.TypeReg},
		tar.Header{Name: "top/in", Typeflag: tar.TypeSymlink, Linkname: "a/b.yaml"},
		tar.Header{Name: "top/chain", Typeflag: tar.TypeSymlink, Linkname: "./in"},
		tar.Header{Name: "top/loop", Typeflag: tar.TypeSymlink, Linkname: "loop"},
		tar.Header{Name: "top/out", Typeflag: tar.TypeSymlink, Linkname: "../../etc/passwd"},
		tar.Header{Name: "top/abs", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
		tar.Header{Name: "top/dev", Typeflag: tar.TypeChar},
	)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = fs.WalkDir(tr, ".", func(path string, d fs.DirEntry, err error) error {
		if !d.IsDir() {
			got = append(got, path)
		}
		return err
	})
	if diff := cmp.Diff([]string{"a/b.yaml", "chain", "etc/shadow", "in"}, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if err := fstest.TestFS(tr, got...); err != nil {
		t.Error(err)
	}
}

func TestABrokenArchiveIsTriedAgain(t *testing.T) {
	good := archiveOf(t, tar.Header{Name: "top/a", Typeflag: tar.TypeReg})
	for name, body := range map[string][]byte{"not an archive": []byte("<html>"), "cut off": good[:len(good)/2], "empty": nil} {
		t.Run(name, func(t *testing.T) {
			c := against(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })
			_, err := c.Files(t.Context(), 1, newSHA, "")
			if f, ok := pipeline.AsFailure(err); !ok || f.Permanent || !strings.Contains(f.Detail, "archive") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestTheOldestRepositoriesAreForgottenFirst(t *testing.T) {
	var a archives
	a.init(250)
	put := func(key string) { a.put(key, &tree{bytes: 100}) }
	put("1")
	put("2")
	a.get("1")
	put("3")
	a.put("huge", &tree{bytes: 251})
	var kept []string
	for _, k := range []string{"1", "2", "3", "huge"} {
		if a.trees[k] != nil {
			kept = append(kept, k)
		}
	}
	if diff := cmp.Diff([]string{"1", "3"}, kept); diff != "" || a.used != 200 {
		t.Errorf("used %d\n%s", a.used, diff)
	}
}
