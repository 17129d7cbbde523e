package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"
)

const maxWish = 16 << 10

// Wish is what a person asks for from the command line, or a program for them.
type Wish struct {
	What        string `json:"-"`       // rollback or promote
	From        string `json:"-"`       // address of who asks, or of the proxy before Slipway
	Project     string `json:"project"` // path with namespace
	Environment string `json:"environment"`
	Release     string `json:"release,omitempty"` // that a rollback shall bring back; "" is the one before
	Reason      string `json:"reason,omitempty"`
	// Key makes a wish that is sent again the same one.
	Key string `json:"key"`
}

// Granted says what became of a wish.
type Granted struct {
	Taken    bool   `json:"taken"`
	Answer   string `json:"answer,omitempty"` // why not, or what else there is to say
	Delivery string `json:"delivery"`         // that was told
	URL      string `json:"url,omitempty"`    // of its page
}

// Wishes takes in what people ask for. token is the person's own GitLab access token, which
// says who they are; what they may do is decided where every wish is decided.
type Wishes interface {
	Wish(ctx context.Context, token string, w Wish) (Granted, error)
}

// wish answers POST /api/rollback and /api/promote. There are no cookies here, so that no
// page that somebody visits can ask in their name.
func (s *server) wish(c *gin.Context, what string) {
	token, ok := strings.CutPrefix(c.GetHeader("Authorization"), "Bearer ")
	if !ok || strings.TrimSpace(token) == "" {
		s.refuse(c, Unauthorized("send your GitLab access token as Authorization: Bearer …"))
		return
	}
	body, done, err := s.read(c, maxWish)
	if err != nil {
		s.refuse(c, err)
		return
	}
	defer done()
	w, err := readWish(body)
	if err != nil {
		s.refuse(c, err)
		return
	}
	// The connection's address: a header could say any.
	w.What, w.From = what, c.RemoteIP()
	granted, err := s.o.Wishes.Wish(c.Request.Context(), strings.TrimSpace(token), w)
	if err != nil {
		s.refuse(c, err)
		return
	}
	c.JSON(http.StatusOK, granted)
}

func (s *server) rollback(c *gin.Context) { s.wish(c, "rollback") }

func (s *server) promote(c *gin.Context) { s.wish(c, "promote") }

func readWish(body []byte) (Wish, error) {
	var w Wish
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&w); err != nil || d.More() {
		return w, BadRequest("the body is not an object with project, environment, release, reason and key")
	}
	switch {
	case w.Project == "" || w.Environment == "":
		return w, BadRequest("project and environment are needed")
	case len(w.Key) < 8 || len(w.Key) > 100:
		return w, BadRequest("key is needed: 8 to 100 characters that are yours alone, so that what is sent again is done once")
	case len(w.Project) > 1000 || len(w.Environment) > 255 || len(w.Release) > 300:
		return w, BadRequest("project, environment or release is too long")
	}
	return w, nil
}
