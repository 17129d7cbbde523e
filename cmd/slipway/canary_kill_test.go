package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"gitlab.com/slipway-cd/slipway/chatops/slack/slacksim"
	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
	"gitlab.com/slipway-cd/slipway/deploy/kube/kubetest"
	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
)

// TestKilledInEachPhaseOfACanary kills the process while a pair is made, while it is judged, while people are asked about
// it, and while it is removed. Each ends as if nothing had happened: both tracks are equal while they are there, nothing of
// a pair is left, and what serves has had traffic all the time.
func TestKilledInEachPhaseOfACanary(t *testing.T) {
	if testing.Short() {
		t.Skip("short: whole deliveries, and a control plane")
	}
	for _, cluster := range []string{"sim", "real"} {
		for _, story := range []struct {
			name string
			tell func(c *canaryRig)
		}{
			{"a good canary with a share of a route", goodCanary},
			{"a bad canary", badCanary},
			{"a canary that people are asked about", greyCanary},
			{"canaries that are canceled", canceledCanaries},
		} {
			t.Run(cluster+" cluster, "+story.name, func(t *testing.T) {
				t.Parallel()
				story.tell(&canaryRig{rig: newRigOf(t, cluster, 600*time.Millisecond, false, 12*time.Second)})
			})
		}
	}
}

// canaryRig delivers a shop with a canary.
type canaryRig struct {
	*rig
	counted *census
	first   string    // the commit that serves from the beginning
	began   time.Time // a moment before the newest canary
}

const (
	shopKeys = "apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {card: first}\n"
	// shopPatches gives the shop's pods a secret, and the time in which somebody can be killed before they are ready.
	shopPatches = `resources: [../base, keys.yaml]
replicas: [{name: shop, count: 3}]
patches:
  - target: {kind: Deployment}
    patch: |
      - {op: add, path: /spec/template/spec/containers/0/envFrom/-, value: {secretRef: {name: keys}}}
      - {op: add, path: /spec/template/metadata/annotations, value: {` + kubetest.ReadyAfter + `: 600ms}}
`
)

// open starts slipway and delivers the shop for the first time. Each edit of the pipeline file is an old text and a new one.
func (c *canaryRig) open(edits ...string) {
	c.Helper()
	c.counted = c.census()
	file := c.file(world.PipelineFile)
	for i := 0; i < len(edits); i += 2 {
		if strings.Count(file, edits[i]) != 1 {
			c.Fatalf("the pipeline file has %q %d times", edits[i], strings.Count(file, edits[i]))
		}
		file = strings.Replace(file, edits[i], edits[i+1], 1)
	}
	_, err := c.world.GitLab.Commit(gitlabsim.CommitOptions{
		ProjectID: c.world.Project, Branch: "main", Message: "Keep keys", AuthorID: c.world.Ada, Files: map[string]string{
			world.PipelineFile: file, "deploy/production/kustomization.yaml": shopPatches, "deploy/production/keys.yaml": shopKeys,
		},
	})
	c.ok(err)
	c.start()
	_, c.first = c.deliver("Open the shop", "open")
}

// ship merges a merge request, and approves that it goes to production, where the canary is next.
func (c *canaryRig) ship(iid int64, err error) (sha string) {
	c.Helper()
	c.ok(err)
	sha = c.merge(iid)
	c.awaitAsked(iid, "to our customers")
	c.began = time.Now()
	c.ok(c.world.PressWhenAsked(c.within(), iid, world.SlackAda, "Approve"))
	return sha
}

func (c *canaryRig) restart() {
	c.Helper()
	c.kill()
	c.start()
}

// killedWhilePairing kills the process again and again until all pods of the pair are available, compares the tracks, and
// returns the pods. The process runs again then.
func (c *canaryRig) killedWhilePairing(more ...string) (pods []string) {
	c.Helper()
	c.awaitPair("is there", func(pair []*appsv1.Deployment) bool { return len(pair) > 0 })
	c.restart()
	c.awaitPair("has begun on one track", func(pair []*appsv1.Deployment) bool { return count(pair, begun) > 0 })
	c.restart()
	c.awaitPair("has begun on both tracks", func(pair []*appsv1.Deployment) bool { return count(pair, begun) == 2 })
	c.restart()
	c.awaitPair("is available", func(pair []*appsv1.Deployment) bool { return count(pair, available) == 2 })
	c.kill()
	pods = c.checkPair(c.began, more...)
	c.start()
	return pods
}

// killedWhileUnpairing kills the process when a part of the pair is gone.
func (c *canaryRig) killedWhileUnpairing() {
	c.Helper()
	c.awaitPair("is being removed", func(pair []*appsv1.Deployment) bool { return len(pair) < 2 })
	c.restart()
}

// killedInALook kills the process while it waits for samples.
func (c *canaryRig) killedInALook() {
	c.Helper()
	asked, release := c.world.Metrics.Hold()
	defer release()
	c.awaitClosed(asked, "asks for samples")
	c.kill()
	release()
	c.start()
}

func (c *canaryRig) awaitClosed(ch <-chan struct{}, what string) {
	c.Helper()
	select {
	case <-ch:
	case <-c.within().Done():
		c.Fatal("nobody " + what)
	}
}

var aLook = regexp.MustCompile(`look \d+ of \d+: `)

func (c *canaryRig) awaitLook(iid int64) {
	c.Helper()
	c.ok(c.world.AwaitGitLab(c.within(), "a look at the canary", func(gitlabsim.ProjectSnapshot) bool { return aLook.MatchString(c.note(iid)) }))
}

// awaitAsked waits until people are asked a question with these words, and returns the message.
func (c *canaryRig) awaitAsked(iid int64, words string) (m slacksim.Message) {
	c.Helper()
	c.awaitMessageSays(iid, words)
	c.ok(c.world.Slack.Await(c.within(), func(slacksim.Snapshot) bool {
		var ok bool
		m, ok = c.world.Message(iid)
		return ok && slices.ContainsFunc(m.Buttons(), func(e slacksim.Element) bool { return e.ActionID == "approve" })
	}))
	return m
}

const picture = "![Samples of the canary and its baseline](/uploads/"

// checkEnd wants that nothing of a pair is left, and that nothing was done twice.
func (c *canaryRig) checkEnd() {
	c.Helper()
	c.awaitNoPair()
	for _, mr := range c.world.ProjectNow().MergeRequests {
		if n := strings.Count(c.note(mr.IID), picture); n > 1 {
			c.Errorf("the note of !%d has %d pictures:\n%s", mr.IID, n, c.note(mr.IID))
		}
	}
	c.counted.checkPaired(c)
	c.checkOnce()
	c.checkJobsPlayedOnce()
	c.checkDatabase()
}

var (
	stagingOnly = map[string]string{"staging": "success"}
	canaryEnded = map[string]string{"staging": "success", "smoke": "success", "go-live": "success", "canary": "skipped", "production": "skipped"}
)

// goodCanary has a share of a route, which is raised, and is followed by a question before the deploy.
func goodCanary(c *canaryRig) {
	c.route()
	c.open(
		"      lifetime: ", "      warmup: 2s\n      weights: [10%, 20%]\n      lifetime: ",
		"      strategy: blue-green\n", "      strategy: blue-green\n      traffic: {httproute: shop}\n",
		"  - name: production\n", "  - name: last-word\n    if: merge_request.source_branch == \"good\"\n    judgement: {ask: Has anything been found by hand?, approvers: [\"group:shop/maintainers\"]}\n\n  - name: production\n",
	)
	c.awaitRoute("shop=20 other=10", false)
	const deployment, config, keys = "deploy/base/deployment.yaml", "deploy/base/config.yaml", "deploy/production/keys.yaml"
	iid, err := c.world.Change("A good canary", "", "good", map[string]string{
		deployment: strings.Replace(c.file(deployment), "cpu: 100m", "cpu: 200m", 1),
		config:     strings.Replace(c.file(config), "Welcome to the shop", "Come in", 1),
		keys:       strings.Replace(shopKeys, "first", "second", 1),
	})
	sha := c.ship(iid, err)
	pods := c.killedWhilePairing()
	c.awaitRoute("shop=16 other=10 shop-baseline-*=2 shop-canary-*=2", true)
	c.restart()
	c.awaitNoteSays(iid, "warming up until")
	c.restart()
	c.killedInALook()
	c.awaitLook(iid)
	c.restart()
	c.awaitRoute("shop=12 other=10 shop-baseline-*=4 shop-canary-*=4", true)
	c.kill()
	c.checkSamePods(pods, c.checkPair(c.began))
	c.start()
	c.awaitRoute("shop=20 other=10", false)
	c.restart()
	c.killedWhileUnpairing()
	c.awaitAsked(iid, "found by hand")
	c.kill()
	c.awaitRoute("shop=20 other=10", false)
	c.awaitNoPair()
	c.runs(c.prod, c.first)
	c.start()
	c.ok(c.world.PressWhenAsked(c.within(), iid, world.SlackAda, "Approve"))
	c.ok(c.world.AwaitNote(c.within(), iid, "**Delivered**"))
	c.awaitSettled(sha, map[string]string{"staging": "success", "production": "success"}, map[string]string{
		"staging": "success", "smoke": "success", "go-live": "success", "canary": "success", "last-word": "success", "production": "success",
	})
	c.runsTested(c.prod, sha)
	c.awaitRoute("shop=20 other=10", false)
	c.ok(c.world.AwaitNote(c.within(), iid, picture))
	c.checkEnd()
}

// badCanary is stopped, and nothing has changed.
func badCanary(c *canaryRig) {
	c.open()
	iid, err := c.world.Worse("A bad canary", "bad")
	sha := c.ship(iid, err)
	c.killedWhilePairing("retry")
	c.killedInALook()
	c.killedWhileUnpairing()
	c.awaitPair("is gone", func(pair []*appsv1.Deployment) bool { return len(pair) == 0 })
	c.restart()
	c.ok(c.world.AwaitNote(c.within(), iid, "canary failed"))
	c.awaitSettled(sha, stagingOnly, canaryEnded)
	c.runs(c.prod, c.first)
	c.ok(c.world.AwaitNote(c.within(), iid, picture))
	c.checkEnd()
}

// greyCanary is neither good nor bad: the answer of people counts, and once.
func greyCanary(c *canaryRig) {
	c.open()
	iid, err := c.world.Slower("A grey canary", "grey")
	sha := c.ship(iid, err)
	pods := c.killedWhilePairing("search")
	asked := c.awaitAsked(iid, "neither good nor bad")
	c.kill()
	c.checkSamePods(pods, c.checkPair(c.began, "search"))
	c.start()
	answer := slacksim.Press{User: world.SlackAda, Channel: c.world.ChannelID, TS: asked.TS, Version: asked.Version, Button: "Approve", Confirm: true}
	for range 2 {
		_, err := c.world.Slack.Press(c.within(), answer)
		c.ok(err)
	}
	c.restart()
	_, err = c.world.Slack.Press(c.within(), answer)
	c.ok(err)
	c.ok(c.world.AwaitNote(c.within(), iid, "**Delivered**"))
	c.awaitNoQuestion(iid)
	if n := strings.Count(c.note(iid), "approved **canary** in Slack"); n != 1 {
		c.Errorf("the canary was approved %d times:\n%s", n, c.note(iid))
	}
	c.awaitSettled(sha, map[string]string{"staging": "success", "production": "success"}, map[string]string{
		"staging": "success", "smoke": "success", "go-live": "success", "canary": "success", "production": "success",
	})
	c.runsTested(c.prod, sha, "registry.example.com/search:2.0")
	c.ok(c.world.AwaitNote(c.within(), iid, picture))
	c.checkEnd()
}

// canceledCanaries are canceled while the pair is made, and while samples are asked for.
func canceledCanaries(c *canaryRig) {
	c.open()
	early, err := c.world.Good("An early end", "early")
	sha := c.ship(early, err)
	c.awaitPair("has begun on both tracks", func(pair []*appsv1.Deployment) bool { return count(pair, begun) == 2 })
	c.canceled(early, sha)

	asked, release := c.world.Metrics.Hold()
	defer release()
	late, err := c.world.Good("A late end", "late")
	sha = c.ship(late, err)
	c.awaitClosed(asked, "asks for samples")
	c.canceled(late, sha)
	c.checkEnd()
}

// canceled cancels the delivery, kills the process while it does that, and wants the end.
func (c *canaryRig) canceled(iid int64, sha string) {
	c.Helper()
	c.comment(iid, c.world.Ben, "@slipway cancel: wrong text")
	c.killedWhileUnpairing()
	c.ok(c.world.AwaitNote(c.within(), iid, "**Canceled**"))
	c.awaitSettled(sha, stagingOnly, canaryEnded)
	c.awaitNoPair()
	c.runs(c.prod, c.first)
}
