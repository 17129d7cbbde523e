package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// kind says what a merge request of the demo is for.
type kind string

const (
	kindFirst   kind = "first"   // the release that is there to go back to
	kindGood    kind = "good"    // it works
	kindWorse   kind = "worse"   // the canary finds that it is worse than what runs
	kindSlower  kind = "slower"  // the canary finds it a little slower, and people are asked
	kindBad     kind = "bad"     // its new container crashes
	kindLimping kind = "limping" // its pods get ready, and customers cannot buy
	kindRepair  kind = "repair"  // takes the broken container out of the main branch again
)

const (
	firstTitle   = "Open the shop"
	goodTitle    = "Show the delivery date at checkout"
	worseTitle   = "Retry payments twice"
	slowerTitle  = "Search that forgives typing errors"
	badTitle     = "Keep sessions in a second container"
	limpingTitle = "Take cards by another payment provider"
	repairTitle  = "Take the broken container out again"
)

// furtherTitles are for people who want to play on.
var furtherTitles = map[kind][]string{
	kindGood:    {"Remember the last address", "Bigger pictures of the products", "Thank people for their order", "Gift wrapping"},
	kindWorse:   {"Retry the search twice", "Retry the delivery service twice"},
	kindBad:     {"Cache the catalogue in a second container", "Resize pictures in a second container"},
	kindLimping: {"Take vouchers by another payment provider", "Pay later, by another payment provider"},
}

const (
	maxFurther      = 20
	deploymentFile  = "deploy/base/deployment.yaml"
	mainStillBroken = "the main branch still holds a broken container: merge “" + repairTitle + "” first"
)

// add opens a merge request of a kind.
func (s *stage) add(k kind, title, branch string) (int64, error) {
	var iid int64
	var err error
	switch k {
	case kindFirst, kindGood:
		iid, err = s.world.Good(title, branch)
	case kindWorse:
		iid, err = s.world.Worse(title, branch)
	case kindSlower:
		iid, err = s.world.Slower(title, branch)
	case kindBad:
		iid, err = s.world.Bad(title, branch)
	case kindLimping:
		iid, err = s.world.Limping(title, branch)
	case kindRepair:
		var files map[string]string
		if files, err = s.world.Files(); err == nil {
			iid, err = s.world.Change(title, "", branch, map[string]string{deploymentFile: files[deploymentFile]})
		}
	default:
		return 0, fmt.Errorf("there is no such merge request: %q", k)
	}
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kinds[iid] = k
	return iid, nil
}

// kind of a merge request, "" if the demo did not open it.
func (s *stage) kind(iid int64) kind {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kinds[iid]
}

// further opens one more merge request to play with.
func (s *stage) further(k kind) (int64, error) {
	titles := furtherTitles[k]
	if len(titles) == 0 {
		return 0, fmt.Errorf("there is no such merge request: %q", k)
	}
	s.mu.Lock()
	n, broken := s.opened, s.broken != ""
	if n < maxFurther && !broken {
		s.opened++
	}
	s.mu.Unlock()
	switch {
	case broken:
		return 0, errors.New(mainStillBroken)
	case n >= maxFurther:
		return 0, errors.New("that is enough; start the demo anew")
	}
	branch := fmt.Sprintf("change-%d", n+1)
	if k == kindLimping { // in a hurry, so it has no canary
		branch = "urgent-" + branch
	}
	return s.add(k, titles[n%len(titles)], branch)
}

// merge merges as one of the people does, and returns the merge commit.
func (s *stage) merge(iid, user int64) (string, error) {
	k := s.kind(iid)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blocked(k) {
		return "", errors.New(mainStillBroken)
	}
	sha, err := s.world.GitLab.Merge(s.world.Project, iid, user, gitlabsim.MergeCommit)
	if err != nil {
		return "", err
	}
	switch k {
	case kindWorse, kindBad, kindLimping:
		s.broken = k
	case kindRepair, kindSlower: // it takes the place of a container that is no good
		s.broken = ""
	case kindFirst, kindGood:
	}
	return sha, nil
}

// tour are the changes that add a container, in the order in which the page invites to merge them. Each takes the place
// of the container before, so that people need not repair the main branch in between.
var tour = []kind{kindWorse, kindSlower, kindBad, kindLimping}

// blocked tells that the main branch has to be repaired before a merge request of this kind. The caller holds mu.
func (s *stage) blocked(k kind) bool {
	return s.broken != "" && k != kindRepair && slices.Index(tour, k) <= slices.Index(tour, s.broken)
}

func (s *stage) isBlocked(iid int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blocked(s.kinds[iid])
}

// repair opens the merge request that cleans the main branch up, each time that a change
// which broke it has been delivered and taken back.
func (s *stage) repair(ctx context.Context) error {
	changed, stop := s.app.Changes()
	defer stop()
	repaired := map[string]bool{}
	for {
		views, err := s.app.Deliveries(ctx, 5)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("read the deliveries: %w", err)
		}
		for _, v := range views {
			k := s.kind(v.MergeRequest.IID)
			if !v.Status.Finished() || !breaks(k) || v.Status == pipeline.StatusNone || repaired[v.ID] {
				continue
			}
			repaired[v.ID] = true
			if !s.mainIsBroken() || s.repairIsOpen() {
				continue
			}
			if _, err := s.add(kindRepair, repairTitle, fmt.Sprintf("repair-%d", v.MergeRequest.IID)); err != nil {
				return fmt.Errorf("open the repair: %w", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// breaks tells that what a change adds to the main branch is no good.
func breaks(k kind) bool { return k == kindWorse || k == kindBad || k == kindLimping }

func (s *stage) mainIsBroken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken != ""
}

func (s *stage) repairIsOpen() bool {
	return slices.ContainsFunc(s.world.ProjectNow().MergeRequests, func(m gitlabsim.MergeRequest) bool {
		return m.State == "opened" && s.kind(m.IID) == kindRepair
	})
}
