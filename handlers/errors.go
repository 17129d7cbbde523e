package handlers

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"
)

// Refusal is an error with the HTTP status that it means and words that may be shown
// to whoever asked. Every other error is answered 500, or 503 if it may pass, without
// its words.
type Refusal struct {
	Status int
	Reason string
	Err    error // for the log
}

func (r *Refusal) Error() string {
	if r.Err != nil {
		return r.Reason + ": " + r.Err.Error()
	}
	return r.Reason
}

func (r *Refusal) Unwrap() error { return r.Err }

// BadRequest is a request that makes no sense (400).
func BadRequest(reason string) error { return &Refusal{Status: http.StatusBadRequest, Reason: reason} }

// Unauthorized is a request whose sender could not be verified (401); reason says which
// check failed.
func Unauthorized(reason string) error {
	return &Refusal{Status: http.StatusUnauthorized, Reason: reason}
}

// TooLarge is a body over the limit in bytes (413).
func TooLarge(limit int64) error {
	return &Refusal{Status: http.StatusRequestEntityTooLarge, Reason: fmt.Sprintf("the body is larger than %d MiB", limit>>20)}
}

// Unavailable is a request that could not be made durable (503): send it again.
func Unavailable(reason string, err error) error {
	return &Refusal{Status: http.StatusServiceUnavailable, Reason: reason, Err: err}
}

type problem struct {
	Error string `json:"error"`
}

// refuse is the one place where errors become statuses.
func (s *server) refuse(c *gin.Context, err error) {
	status, reason := http.StatusInternalServerError, "internal error"
	var r *Refusal
	if errors.As(err, &r) && r.Status >= http.StatusBadRequest {
		status, reason = r.Status, r.Reason
	}
	switch {
	case status >= http.StatusInternalServerError:
		s.o.Logger.Error("request failed", "path", c.FullPath(), "status", status, "error", err)
	case c.FullPath() == "": // whoever scans the internet is nobody's concern
		s.o.Logger.Debug("nothing is there", "status", status)
	default:
		s.o.Logger.Warn("request refused", "path", c.FullPath(), "status", status, "reason", reason)
	}
	c.AbortWithStatusJSON(status, problem{Error: reason})
}
