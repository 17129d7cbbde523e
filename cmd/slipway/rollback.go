package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gitlab.com/slipway-cd/slipway/handlers"
)

// The environment variables that spare flags.
const (
	serverVariable = "SLIPWAY_URL"
	tokenVariable  = "SLIPWAY_TOKEN"
)

// wishFlags are what rollback and promote have in common.
type wishFlags struct {
	server, tokenFile string
	wish              handlers.Wish
}

func (f *wishFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.server, "server", os.Getenv(serverVariable), "address of the Slipway server; default $"+serverVariable)
	cmd.Flags().StringVar(&f.tokenFile, "token-file", "", "file with your GitLab access token (scope api); default $"+tokenVariable)
	cmd.Flags().StringVar(&f.wish.Project, "project", "", "path of the GitLab project, such as shop/web")
	cmd.Flags().StringVar(&f.wish.Reason, "reason", "", "why; people read it")
	_ = cmd.MarkFlagRequired("project")
}

func rollbackCommand() *cobra.Command {
	var f wishFlags
	cmd := &cobra.Command{
		Use:   "rollback ENVIRONMENT",
		Short: "Bring back the release before, or another one; exit 1 if that is refused",
		Long: `Bring back the release that ran in an environment before, or the one that --to names:
its id, or the beginning of its commit's sha or of its version. You are who your GitLab
token says, and may do what you may do in GitLab and Slack.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.wish.Environment = args[0]
			return f.ask(cmd, "rollback")
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.wish.Release, "to", "", "the release to bring back")
	return cmd
}

func promoteCommand() *cobra.Command {
	var f wishFlags
	cmd := &cobra.Command{
		Use:   "promote ENVIRONMENT",
		Short: "End the standby of the release before now; exit 1 if that is refused",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.wish.Environment = args[0]
			return f.ask(cmd, "promote")
		},
	}
	f.add(cmd)
	return cmd
}

// ask sends the wish and prints what became of it.
func (f *wishFlags) ask(cmd *cobra.Command, what string) error {
	token, err := f.token()
	if err != nil {
		return err
	}
	server, err := url.Parse(f.server)
	if err != nil || server.Host == "" || server.Scheme != "http" && server.Scheme != "https" {
		return fmt.Errorf("--server or $%s must be the address of your Slipway, such as https://slipway.example.com", serverVariable)
	}
	f.wish.Key = rand.Text()
	body, err := json.Marshal(f.wish)
	if err != nil {
		return fmt.Errorf("encode the wish: %w", err)
	}
	granted, err := send(cmd.Context(), strings.TrimRight(f.server, "/")+"/api/"+what, token, body)
	if err != nil {
		return fmt.Errorf("ask for a %s of %s: %w", what, f.wish.Environment, err)
	}
	out := cmd.OutOrStdout()
	if granted.Answer != "" {
		fmt.Fprintln(out, granted.Answer)
	} else if granted.Taken {
		fmt.Fprintf(out, "%s of %s in %s has begun.\n", what, f.wish.Environment, f.wish.Project)
	}
	if granted.URL != "" {
		fmt.Fprintln(out, granted.URL)
	}
	if !granted.Taken {
		return &exitError{1}
	}
	return nil
}

func (f *wishFlags) token() (string, error) {
	if f.tokenFile == "" {
		if token := strings.TrimSpace(os.Getenv(tokenVariable)); token != "" {
			return token, nil
		}
		return "", fmt.Errorf("no GitLab token: set $%s, or name a file with --token-file", tokenVariable)
	}
	data, err := os.ReadFile(f.tokenFile)
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// send posts the wish. It is sent again under the same key if nobody knows whether it came
// in, so that it is done once.
func send(ctx context.Context, address, token string, body []byte) (handlers.Granted, error) {
	const tries = 3
	var granted handlers.Granted
	var err error
	for try := range tries {
		if try > 0 {
			select {
			case <-ctx.Done():
				return granted, ctx.Err()
			case <-time.After(time.Second):
			}
		}
		var again bool
		if granted, again, err = post(ctx, address, token, body); !again {
			break
		}
	}
	return granted, err
}

func post(ctx context.Context, address, token string, body []byte) (granted handlers.Granted, again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return granted, false, fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return granted, true, fmt.Errorf("reach the server: %w", err)
	}
	defer resp.Body.Close()
	const most = 64 << 10
	data, err := io.ReadAll(io.LimitReader(resp.Body, most))
	if err != nil {
		return granted, true, fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var said struct{ Error string }
		if json.Unmarshal(data, &said) != nil || said.Error == "" {
			said.Error = "it answered " + resp.Status
		}
		return granted, resp.StatusCode == http.StatusServiceUnavailable, errors.New(said.Error)
	}
	if err := json.Unmarshal(data, &granted); err != nil {
		return granted, false, fmt.Errorf("read the answer: %w", err)
	}
	return granted, false, nil
}
