package slack

import (
	"errors"
	"slices"
	"strconv"

	api "github.com/slack-go/slack"

	"gitlab.com/slipway-cd/slipway/chatops"
)

const maxChartTitle = 50

// chart adds Slack's own line chart: https://docs.slack.dev/reference/block-kit/blocks. Not every workspace has it yet.
func (m *message) chart(c *chatops.Chart) {
	if c == nil {
		return
	}
	series := func(name string, values []float64) api.DataVisualizationDataSeries {
		points := make([]api.DataVisualizationDataPoint, 0, len(values))
		for i, v := range values {
			points = append(points, api.NewDataVisualizationDataPoint(strconv.Itoa(i+1), v))
		}
		return api.NewDataVisualizationDataSeries(name, points...)
	}
	var labels []string
	for i := range c.Baseline {
		labels = append(labels, strconv.Itoa(i+1))
	}
	m.blocks = append(m.blocks, api.NewDataVisualizationBlock(chatops.Clip(c.Metric, maxChartTitle), api.NewDataVisualizationLineChart(
		api.NewDataVisualizationAxisConfig(labels...), series("baseline", c.Baseline), series("canary", c.Canary),
	)))
}

// withoutCharts is the message for a workspace that knows no charts.
func (m message) withoutCharts() message {
	m.blocks = slices.DeleteFunc(slices.Clone(m.blocks), func(b api.Block) bool {
		_, is := b.(*api.DataVisualizationBlock)
		return is
	})
	return m
}

// charted sends a message, and once more without its charts if Slack doesn't take them. Then the workspace gets none any
// more until Slipway starts again.
func (c *Client) charted(m message, send func(message) error) error {
	bare := m.withoutCharts()
	if len(bare.blocks) == len(m.blocks) || c.chartless.Load() {
		return send(bare)
	}
	err := send(m)
	var refused api.SlackErrorResponse
	if !errors.As(err, &refused) || refused.Err != "invalid_blocks" {
		return err
	}
	if err := send(bare); err != nil {
		return err
	}
	c.chartless.Store(true)
	return nil
}
