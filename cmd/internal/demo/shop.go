package demo

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	shopPatience = 2 * time.Second
	maxShop      = 200 // bytes of what it says that are shown
)

// Shop is what customers see of production.
type Shop struct {
	Status int    `json:"status"` // of HTTP, 0 if there was no answer
	Text   string `json:"text"`
}

// shop asks production for what a customer would get now.
func (s *stage) shop(ctx context.Context) Shop {
	ctx, cancel := context.WithTimeout(ctx, shopPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.world.ShopURL, nil)
	if err != nil {
		return Shop{Text: "the shop has no address"}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return Shop{Text: "the shop does not answer"}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxShop))
	if err != nil {
		return Shop{Text: "the shop stopped in the middle of its answer"}
	}
	return Shop{Status: resp.StatusCode, Text: strings.TrimSpace(strings.ToValidUTF8(string(text), ""))}
}
