package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
)

const reviewSection = `
review:
  stages:
    - name: deploy
      deploy:
        environment: review/mr-${{ merge_request.iid }}
        manifests: deploy/review
        images: {registry.example.com/shop: "${{ commit.short_sha }}"}
        hosts: {shop.example.com: "mr-${{ merge_request.iid }}.review.shop.example.com"}
`

const reviewIngress = `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec:
  rules:
    - host: shop.example.com
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: shop, port: {name: http}}}}]}
`

// propose opens a merge request whose pipeline file has a review, and runs its CI pipeline.
func (r *rig) propose(title, branch string) int64 {
	r.Helper()
	iid, err := r.world.Change(title, "", branch, map[string]string{
		world.PipelineFile:                 r.file(world.PipelineFile) + reviewSection,
		"deploy/review/kustomization.yaml": "resources: [../base, ingress.yaml]\n",
		"deploy/review/ingress.yaml":       reviewIngress,
		"deploy/base/config.yaml":          strings.Replace(r.file("deploy/base/config.yaml"), "Welcome to the shop", title, 1),
	})
	r.ok(err)
	r.ci(iid)
	return iid
}

// ci runs a merge request's own CI pipeline.
func (r *rig) ci(iid int64) {
	r.Helper()
	_, err := r.world.GitLab.StartMergeRequestPipeline(r.world.Project, iid, r.world.Ben)
	r.ok(err)
}

func (r *rig) head(iid int64) string {
	r.Helper()
	mr, err := r.world.MergeRequest(iid)
	r.ok(err)
	return mr.HeadSHA
}

// awaitReview waits until the newest commit of a merge request can be looked at.
func (r *rig) awaitReview(iid int64) {
	r.Helper()
	sha := r.head(iid)[:8]
	err := r.world.AwaitGitLab(r.within(), "the review of "+sha, func(gitlabsim.ProjectSnapshot) bool {
		for _, n := range r.world.Notes(iid) {
			if strings.Contains(n.Body, "**Open review/mr-") && strings.Contains(n.Body, sha) {
				return true
			}
		}
		return false
	})
	if err != nil {
		r.Fatalf("%v; the notes are %q", err, r.notes(iid))
	}
}

func (r *rig) notes(iid int64) (bodies []string) {
	for _, n := range r.world.Notes(iid) {
		bodies = append(bodies, n.Body)
	}
	return bodies
}

// reviewed lists the images of the Deployments in the namespace of the reviews, by the hosts that lead to them.
func (r *rig) reviewed() (running []string) {
	r.Helper()
	client := r.client()
	hosts := map[string]string{}
	routes, err := client.NetworkingV1().Ingresses(r.review).List(r.within(), metav1.ListOptions{})
	r.ok(err)
	for i := range routes.Items {
		rule := routes.Items[i].Spec.Rules[0]
		service, err := client.CoreV1().Services(r.review).Get(r.within(), rule.HTTP.Paths[0].Backend.Service.Name, metav1.GetOptions{})
		r.ok(err)
		hosts[service.Spec.Selector["slipway.dev/review"]] = rule.Host
	}
	list, err := client.AppsV1().Deployments(r.review).List(r.within(), metav1.ListOptions{})
	r.ok(err)
	for i := range list.Items {
		d := &list.Items[i]
		host := hosts[d.Spec.Template.Labels["slipway.dev/review"]]
		running = append(running, fmt.Sprintf("%s runs %s, %d available", host, strings.TrimPrefix(d.Spec.Template.Spec.Containers[0].Image, "registry.example.com/shop:"), d.Status.AvailableReplicas))
	}
	slices.Sort(running)
	return running
}

func (r *rig) wantReviewed(iids ...int64) {
	r.Helper()
	var want []string
	for _, iid := range iids {
		want = append(want, fmt.Sprintf("mr-%d.review.shop.example.com runs %s, 2 available", iid, r.head(iid)[:8]))
	}
	slices.Sort(want)
	if got := r.reviewed(); !slices.Equal(got, want) {
		r.Errorf("the reviews are %q, want %q", got, want)
	}
}

// awaitStopped waits until a review's environment is shown as stopped, and the note says that it is gone.
func (r *rig) awaitStopped(iid int64) {
	r.Helper()
	name := fmt.Sprintf("review/mr-%d", iid)
	r.ok(r.world.AwaitNote(r.within(), iid, "**The review environment is gone**"))
	r.ok(r.world.AwaitGitLab(r.within(), name+" to be stopped", func(p gitlabsim.ProjectSnapshot) bool {
		return slices.ContainsFunc(p.Environments, func(e gitlabsim.Environment) bool { return e.Name == name && e.State == "stopped" })
	}))
}

func TestReviewEnvironmentsComeAndGoWithTheirMergeRequests(t *testing.T) {
	test := func(r *rig) {
		r.start()
		carts, dates := r.propose("Add carts", "carts"), r.propose("Show dates", "dates")
		r.awaitReview(carts)
		r.awaitReview(dates)
		r.wantReviewed(carts, dates)
		note := r.notes(carts)[0]
		for _, want := range []string{"**Review environment**", "https://review-mr-1-", ".review.shop.example.com)"} {
			if !strings.Contains(note, want) {
				r.Errorf("the note does not say %q:\n%s", want, note)
			}
		}

		// A commit is pushed; the process dies meanwhile.
		_, err := r.world.GitLab.Push(r.world.Project, carts, r.world.Ben, map[string]string{"carts.txt": "more"}, "More carts")
		r.ok(err)
		r.ci(carts)
		r.kill()
		r.start()
		r.ok(r.world.GitLab.Quiet(r.within()))
		r.resendLost()
		r.awaitReview(carts)
		r.wantReviewed(carts, dates)

		// One is closed, and reopened.
		r.ok(r.world.GitLab.CloseMergeRequest(r.world.Project, dates, r.world.Ben))
		r.awaitStopped(dates)
		r.wantReviewed(carts)
		r.ok(r.world.GitLab.ReopenMergeRequest(r.world.Project, dates, r.world.Ben))
		r.awaitReview(dates)
		r.wantReviewed(carts, dates)
		r.ok(r.world.GitLab.CloseMergeRequest(r.world.Project, dates, r.world.Ben))
		r.awaitStopped(dates)

		// The other is merged: its review goes, and it is delivered as ever.
		sha := r.merge(carts)
		r.ok(r.world.PressWhenAsked(r.within(), carts, world.SlackAda, "Approve"))
		r.ok(r.world.AwaitNote(r.within(), carts, "**Delivered**"))
		r.awaitStopped(carts)
		r.wantReviewed()
		r.runs(r.prod, sha)
		for _, iid := range []int64{carts, dates} {
			if n := len(r.notes(iid)); n != map[int64]int{carts: 2, dates: 1}[iid] {
				r.Errorf("!%d has %d notes: %q", iid, n, r.notes(iid))
			}
		}
		r.checkContract()
		r.checkDatabase()
	}
	t.Run("on the simulated cluster", func(t *testing.T) { test(newRigOf(t, "sim", 200*time.Millisecond, true, 0)) })
	t.Run("on a real control plane", func(t *testing.T) {
		if testing.Short() {
			t.Skip("short: no control plane")
		}
		test(newRigOf(t, "real", 200*time.Millisecond, true, 0))
	})
}

// TestAReviewGoesWhoseMergeRequestEndedWhileNobodyListened: no hook came, and nobody sends it again.
func TestAReviewGoesWhoseMergeRequestEndedWhileNobodyListened(t *testing.T) {
	r := newRigOf(t, "sim", 200*time.Millisecond, true, 0)
	r.start()
	carts, dates := r.propose("Add carts", "carts"), r.propose("Show dates", "dates")
	r.awaitReview(carts)
	r.awaitReview(dates)
	r.kill()
	r.ok(r.world.GitLab.CloseMergeRequest(r.world.Project, dates, r.world.Ben))
	r.ok(r.world.GitLab.Quiet(r.within()))
	asked := len(r.world.GitLab.Requests())
	r.start()
	r.awaitStopped(dates)
	r.wantReviewed(carts)
	lists := 0
	for _, req := range r.world.GitLab.Requests()[asked:] {
		if strings.HasSuffix(req.Path, "/merge_requests") {
			lists++
		}
	}
	if lists != 1 {
		t.Errorf("GitLab was asked %d times for all merge requests", lists)
	}
	r.checkContract()
	r.checkDatabase()
}

// resendLost sends the hooks again that nobody took, as people do in GitLab.
func (r *rig) resendLost() {
	r.Helper()
	for _, d := range r.world.GitLab.Deliveries() {
		if d.Status != 200 && d.Status != 202 {
			r.ok(r.world.GitLab.Resend(d.ID))
		}
	}
}

func TestNobodyReviewsWhereTheOperatorHasNoReviewEnvironment(t *testing.T) {
	r := newRig(t, "sim")
	r.start()
	iid := r.propose("Add carts", "carts")
	r.ok(r.world.GitLab.Quiet(r.within()))
	answers := 0
	for _, d := range r.world.GitLab.Deliveries() {
		if d.Event == "Merge Request Hook" && strings.Contains(d.Answer, "the project has no review environment") {
			answers++
		}
	}
	if notes := r.notes(iid); answers != 1 || len(notes) != 0 {
		t.Errorf("%d hooks were answered so, and there are notes %q", answers, notes)
	}
	for _, req := range r.world.GitLab.Requests() {
		if strings.Contains(req.Path, fmt.Sprintf("merge_requests/%d", iid)) {
			t.Errorf("GitLab was asked: %s %s", req.Method, req.Path)
		}
	}
}
