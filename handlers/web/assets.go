package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed assets
var assetFiles embed.FS

//go:embed templates/*.html
var templateFiles embed.FS

// markColour is the one that mark.svg has; each tone replaces it for the icon of the
// browser's tab.
const markColour = "#5b6878"

var toneColours = []struct{ tone, colour string }{
	{"ok", "#157347"}, {"bad", "#c02636"}, {"back", "#a84b05"}, {"run", "#1a63c7"}, {"ask", "#6d3fd0"}, {"wait", "#46617f"}, {"off", markColour},
}

type asset struct {
	body []byte
	kind string
}

// assets are files under addresses that hold a hash of what is in them, so that they
// may be kept for ever.
type assets struct {
	byPath map[string]asset  // "style.0123456789ab.css"
	path   map[string]string // by plain name: "style.css"
	build  string            // changes whenever one of them does
}

func newAssets() (*assets, error) {
	a := &assets{byPath: map[string]asset{}, path: map[string]string{}}
	build := sha256.New()
	add := func(name, kind string, body []byte) {
		sum := sha256.Sum256(body)
		build.Write(sum[:])
		ext := path.Ext(name)
		hashed := strings.TrimSuffix(name, ext) + "." + hex.EncodeToString(sum[:6]) + ext
		a.byPath[hashed] = asset{body, kind}
		a.path[name] = hashed
	}
	for _, f := range []struct{ name, kind string }{{"style.css", "text/css; charset=utf-8"}, {"live.js", "text/javascript; charset=utf-8"}, {"wish.js", "text/javascript; charset=utf-8"}} {
		body, err := assetFiles.ReadFile("assets/" + f.name)
		if err != nil {
			return nil, fmt.Errorf("read asset %s: %w", f.name, err)
		}
		add(f.name, f.kind, body)
	}
	mark, err := assetFiles.ReadFile("assets/mark.svg")
	if err != nil {
		return nil, fmt.Errorf("read asset mark.svg: %w", err)
	}
	for _, t := range toneColours {
		add("mark-"+t.tone+".svg", "image/svg+xml", []byte(strings.Replace(string(mark), markColour, t.colour, 1)))
	}
	a.build = hex.EncodeToString(build.Sum(nil)[:6])
	return a, nil
}

func (a *assets) serve(w http.ResponseWriter, name string) bool {
	f, ok := a.byPath[name]
	if !ok {
		return false
	}
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("Content-Length", strconv.Itoa(len(f.body)))
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(f.body) // whoever asked may be gone
	return true
}
