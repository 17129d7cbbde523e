package gitlab

import (
	"bytes"
	"context"
	"fmt"

	api "gitlab.com/gitlab-org/api/client-go/v2"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/canary"
	"gitlab.com/slipway-cd/slipway/pipeline/canary/chart"
)

// Blobs gives bytes by their reference.
type Blobs interface {
	GetBlob(ctx context.Context, ref string) ([]byte, error)
}

// drawChart uploads the picture of a canary's samples to the project, where the note shows it. Should it be done twice, a
// picture that nothing shows stays behind.
func (c *Client) drawChart(ctx context.Context, t *pipeline.Task, do pipeline.DrawChart) (pipeline.Event, error) {
	if c.o.Blobs == nil {
		return nil, nil
	}
	data, err := c.o.Blobs.GetBlob(ctx, do.Samples)
	if err != nil {
		return nil, fmt.Errorf("read the samples of the canary: %w", err)
	}
	m, err := pipeline.DecodeMeasurement(data)
	if err != nil {
		return nil, &pipeline.Failure{Code: pipeline.ReasonOther, Detail: "the canary's samples can't be drawn", Permanent: true, Err: err}
	}
	picture, err := chart.Picture(panels(m, reportOf(t, do)))
	if err != nil {
		return nil, &pipeline.Failure{Code: pipeline.ReasonOther, Detail: "the canary's samples can't be drawn", Permanent: true, Err: err}
	}
	ctx, cancel := c.limit(ctx)
	defer cancel()
	file, resp, err := c.api.ProjectMarkdownUploads.UploadProjectMarkdown(t.Delivery.Project.ID, bytes.NewReader(picture), "canary.png", api.WithContext(ctx))
	if err != nil {
		return nil, c.failed(ctx, call{doing: "upload the canary's chart", needs: "Developer", makes: true}, resp, err)
	}
	if !uploaded.MatchString(file.URL) {
		return nil, &pipeline.Failure{Code: pipeline.ReasonRefused, Detail: "GitLab's answer to an upload names no file", Permanent: true}
	}
	return pipeline.ChartDrawn{Stage: do.Stage, Attempt: do.Attempt, Chart: file.URL}, nil
}

// reportOf is the report of the stage's newest look, nil if there is none.
func reportOf(t *pipeline.Task, do pipeline.DrawChart) *canary.Report {
	if st := t.Delivery.Stage(do.Stage); st != nil && st.Attempt == do.Attempt && st.Analysis != nil {
		return st.Analysis.Report
	}
	return nil
}

// panels are the metrics of a measurement, with those that are worse first.
func panels(m *pipeline.Measurement, report *canary.Report) []chart.Panel {
	var worse, rest []chart.Panel
	for i, metric := range m.Request.Metrics {
		curve := m.Curve(i)
		p := chart.Panel{Title: metric.Name, Baseline: curve.Baseline, Canary: curve.Canary, From: curve.From, Step: curve.Step}
		if report != nil && i < len(report.Metrics) {
			p.Bad = report.Metrics[i].Label.Worse()
		}
		if p.Bad {
			worse = append(worse, p)
		} else {
			rest = append(rest, p)
		}
	}
	return append(worse, rest...)
}
