// Package cloudwatch asks Amazon CloudWatch by GetMetricData, with the official client.
//
// A value's time is the begin of the period that it sums up, the start of a question is included and its end is not
// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html): so a value stands for the
// step that begins then.
//
// Credentials are only those that the operator gives. Neither the environment, nor files of the user, nor the machine's
// link-local address are looked at: the client's package config, which would, is not used.
package cloudwatch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/wire"
)

const maxPages = 20

// Options for New. Region and the two keys are required.
type Options struct {
	URL                  string // https://monitoring.REGION.amazonaws.com where ""
	Region               string
	AccessKey, SecretKey string
	SessionToken         string // of temporary credentials
	Limits               wire.Limits
}

// Source is one region of one account. It may be used concurrently.
type Source struct {
	wire   *wire.Client
	client *cloudwatch.Client
}

var _ metrics.Sampler = (*Source)(nil)

var region = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]+$`)

// New makes a source. It asks nothing yet.
func New(o Options) (*Source, error) {
	switch {
	case !region.MatchString(o.Region):
		return nil, fmt.Errorf("cloudwatch: %q is not a region such as eu-central-1", o.Region)
	case o.AccessKey == "" || o.SecretKey == "":
		return nil, errors.New("cloudwatch: an access key and its secret key are required")
	}
	if o.URL == "" {
		o.URL = "https://monitoring." + o.Region + ".amazonaws.com"
		if strings.HasPrefix(o.Region, "cn-") {
			o.URL += ".cn"
		}
	}
	w, err := wire.New(wire.Options{
		System: "CloudWatch", URL: o.URL, Internet: true, Secrets: []string{o.SecretKey, o.SessionToken}, Busy: busy, Limits: o.Limits,
	})
	if err != nil {
		return nil, err
	}
	credentials := aws.Credentials{AccessKeyID: o.AccessKey, SecretAccessKey: o.SecretKey, SessionToken: o.SessionToken, Source: "slipway"}
	return &Source{wire: w, client: cloudwatch.New(cloudwatch.Options{
		Region: o.Region, BaseEndpoint: &o.URL, HTTPClient: w.HTTP(), Retryer: aws.NopRetryer{}, // the wire tries again
		Credentials:               aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return credentials, nil }),
		DisableRequestCompression: true,
	})}, nil
}

// busy knows the refusals for too many questions, which come with status 400.
func busy(status int, body []byte) bool {
	return status == http.StatusBadRequest && (bytes.Contains(body, []byte("Throttling")) || bytes.Contains(body, []byte("LimitExceeded")))
}

// Number is the value of the newest whole minute of the last fifteen that has one.
func (s *Source) Number(ctx context.Context, query string) (float64, error) {
	return s.wire.Newest(ctx, query, s.Samples)
}

// Samples takes Metrics Insights or metric math that gives one series, such as
// SELECT SUM(Errors) FROM "Shop" WHERE Track = 'canary', or a list of the API's MetricDataQueries as JSON, of which one
// returns data. $step stands for the length of a step in seconds, for their Period.
func (s *Source) Samples(ctx context.Context, r metrics.Range) (metrics.Samples, error) {
	return s.wire.Samples(ctx, r, func(ctx context.Context, r metrics.Range, g *wire.Grid) (string, error) {
		queries, err := s.queries(r)
		if err != nil {
			return "", err
		}
		results, err := s.ask(ctx, queries, r)
		if err != nil {
			return "", err
		}
		if len(results) > 1 {
			return "", &metrics.NotOneError{Got: len(results)}
		}
		for _, result := range results {
			for i, at := range result.Timestamps {
				if !g.Put(at, result.Values[i]) {
					return "", s.wire.Several(r, `give the metric a "Period" of $step`)
				}
			}
		}
		return "", nil
	})
}

func (s *Source) queries(r metrics.Range) ([]types.MetricDataQuery, error) {
	query := wire.Fill(strings.TrimSpace(r.Query), map[string]string{"$step": wire.Seconds(r.Step)})
	if r.Step > math.MaxInt32*time.Second {
		return nil, s.wire.Query("the steps are too long")
	}
	if !strings.HasPrefix(query, "[") {
		return []types.MetricDataQuery{{Id: aws.String("q"), Expression: &query, Period: aws.Int32(int32(r.Step / time.Second))}}, nil
	}
	var list []types.MetricDataQuery
	d := json.NewDecoder(strings.NewReader(query))
	d.DisallowUnknownFields()
	if err := d.Decode(&list); err != nil || len(list) == 0 {
		return nil, s.wire.Query("as JSON it has to be a list of MetricDataQueries, as the API names their parts")
	}
	return list, nil
}

// ask collects the pages of an answer; a series goes on where the page before has ended it.
func (s *Source) ask(ctx context.Context, queries []types.MetricDataQuery, r metrics.Range) ([]types.MetricDataResult, error) {
	in := &cloudwatch.GetMetricDataInput{MetricDataQueries: queries, StartTime: &r.Start, EndTime: &r.End, ScanBy: types.ScanByTimestampAscending}
	var all []types.MetricDataResult
	at := map[string]int{}
	for range maxPages {
		page, err := s.client.GetMetricData(ctx, in)
		if err != nil {
			return nil, s.failure(ctx, err)
		}
		for _, result := range page.MetricDataResults {
			if len(result.Timestamps) != len(result.Values) {
				return nil, s.wire.Strange(errors.New("values and timestamps are not alike in number"))
			}
			name := aws.ToString(result.Id) + "\x00" + aws.ToString(result.Label)
			if i, known := at[name]; known {
				all[i].Timestamps, all[i].Values = append(all[i].Timestamps, result.Timestamps...), append(all[i].Values, result.Values...)
				all[i].StatusCode = result.StatusCode
				continue
			}
			at[name] = len(all)
			all = append(all, result)
		}
		if in.NextToken = page.NextToken; aws.ToString(in.NextToken) == "" {
			return s.complete(all)
		}
	}
	return nil, s.wire.Query("its answer has too many pages")
}

// complete refuses what is only a part of the data.
func (s *Source) complete(all []types.MetricDataResult) ([]types.MetricDataResult, error) {
	for _, result := range all {
		var said []string
		for _, m := range result.Messages {
			said = append(said, aws.ToString(m.Code)+" "+aws.ToString(m.Value))
		}
		switch result.StatusCode {
		case types.StatusCodeForbidden:
			return nil, s.wire.Refused(http.StatusForbidden, []byte(strings.Join(said, "; ")))
		case types.StatusCodeInternalError, types.StatusCodePartialData:
			return nil, s.wire.Trouble("the data is not complete " + strings.Join(said, "; "))
		case types.StatusCodeComplete:
		}
	}
	return all, nil
}

// failure puts an error of the client into words.
func (s *Source) failure(ctx context.Context, err error) error {
	var said smithy.APIError
	var answered *smithyhttp.ResponseError
	var sent *smithyhttp.RequestSendError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &sent):
		return s.wire.Failed(ctx, sent.Err)
	case errors.As(err, &answered) && (answered.HTTPStatusCode() < 200 || answered.HTTPStatusCode() > 299):
		words := ""
		if errors.As(err, &said) {
			words = said.ErrorCode() + " " + said.ErrorMessage()
		}
		return s.refused(answered.HTTPStatusCode(), words)
	case errors.As(err, &answered):
		return s.wire.Strange(errors.New("it is not as documented"))
	}
	return s.wire.Failed(ctx, err)
}

// refused tells apart what CloudWatch says with status 400.
func (s *Source) refused(status int, words string) error {
	for _, code := range []string{"ExpiredToken", "InvalidClientTokenId", "UnrecognizedClient", "SignatureDoesNotMatch", "AccessDenied", "InvalidSignature", "MissingAuthentication"} {
		if strings.HasPrefix(words, code) {
			status = http.StatusForbidden
		}
	}
	return s.wire.Refused(status, []byte(words))
}
