// Package cloudwatch asks Amazon CloudWatch by GetMetricData.
//
// A value's time is the begin of the period that it sums up, the start of a question is included and its end is not
// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html): so a value stands for the
// step that begins then.
//
// Requests are signed with the official signer and posted as AWS JSON 1.0
// (https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html), which the AWS CLI speaks, too. The official client
// would make the program 2.3 MB larger and keep 1.7 MB more of it in memory, for this one request.
//
// Credentials are only those that the operator gives. Neither the environment, nor files of the user, nor the machine's
// link-local address are looked at.
package cloudwatch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"

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
	wire *wire.Client
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
	signer := &signer{v4: v4.NewSigner(), region: o.Region, credentials: aws.Credentials{
		AccessKeyID: o.AccessKey, SecretAccessKey: o.SecretKey, SessionToken: o.SessionToken,
	}}
	w, err := wire.New(wire.Options{
		System: "CloudWatch", URL: o.URL, Internet: true, Header: map[string]string{"X-Amz-Target": "GraniteServiceVersion20100801.GetMetricData"},
		Secrets: []string{o.SecretKey, o.SessionToken}, Sign: signer.sign, Said: said, Busy: busy, Limits: o.Limits,
	})
	if err != nil {
		return nil, err
	}
	return &Source{wire: w}, nil
}

// signer signs each try, because a signature is good for some minutes only.
type signer struct {
	v4          *v4.Signer
	region      string
	credentials aws.Credentials
}

func (s *signer) sign(req *http.Request, body []byte) error {
	sum := sha256.Sum256(body)
	return s.v4.SignHTTP(req.Context(), s.credentials, req, hex.EncodeToString(sum[:]), "monitoring", s.region, time.Now())
}

// refusal is what CloudWatch says with a status that is not good.
type refusal struct {
	Type    string `json:"__type"` // may begin with a namespace and #
	Message string `json:"message"`
}

func said(body []byte) string {
	var r refusal
	if json.Unmarshal(body, &r) != nil {
		return string(body)
	}
	return strings.TrimSpace(r.Type[strings.LastIndexByte(r.Type, '#')+1:] + " " + r.Message)
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
				if !g.Put(time.UnixMilli(int64(at*1000)), float64(result.Values[i])) {
					return "", s.wire.Several(r, `give the metric a "Period" of $step`)
				}
			}
		}
		return "", nil
	})
}

// queries are the text's, as JSON. What is in them is CloudWatch's to judge.
func (s *Source) queries(r metrics.Range) ([]json.RawMessage, error) {
	query := wire.Fill(strings.TrimSpace(r.Query), map[string]string{"$step": wire.Seconds(r.Step)})
	if !strings.HasPrefix(query, "[") {
		one, err := json.Marshal(map[string]any{"Id": "q", "Expression": query, "Period": int64(r.Step / time.Second)})
		if err != nil {
			return nil, s.wire.Query("it is no text")
		}
		return []json.RawMessage{one}, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal([]byte(query), &list); err != nil || len(list) == 0 {
		return nil, s.wire.Query("as JSON it has to be a list of MetricDataQueries, as the API names their parts")
	}
	return list, nil
}

type question struct {
	MetricDataQueries  []json.RawMessage
	StartTime, EndTime int64 // Unix seconds
	ScanBy             string
	NextToken          string `json:",omitempty"`
}

type answer struct {
	MetricDataResults []result
	NextToken         string
}

type result struct {
	ID         string `json:"Id"`
	Label      string
	StatusCode string
	Timestamps []float64 // Unix seconds
	Values     []wire.Number
	Messages   []struct{ Code, Value string }
}

// ask collects the pages of an answer; a series goes on where the page before has ended it.
func (s *Source) ask(ctx context.Context, queries []json.RawMessage, r metrics.Range) ([]result, error) {
	q := question{MetricDataQueries: queries, StartTime: r.Start.Unix(), EndTime: r.End.Unix(), ScanBy: "TimestampAscending"}
	var all []result
	at := map[string]int{}
	for range maxPages {
		body, err := json.Marshal(q)
		if err != nil {
			return nil, s.wire.Query("it is no JSON")
		}
		var page answer
		if err := s.wire.JSON(ctx, wire.Question{Method: http.MethodPost, Path: "/", Body: body, Type: "application/x-amz-json-1.0"}, &page); err != nil {
			return nil, mended(err)
		}
		if page.MetricDataResults == nil {
			return nil, s.wire.Strange(errors.New("there are no results"))
		}
		for _, result := range page.MetricDataResults {
			if len(result.Timestamps) != len(result.Values) {
				return nil, s.wire.Strange(errors.New("values and timestamps are not alike in number"))
			}
			name := result.ID + "\x00" + result.Label
			if i, known := at[name]; known {
				all[i].Timestamps, all[i].Values = append(all[i].Timestamps, result.Timestamps...), append(all[i].Values, result.Values...)
				all[i].StatusCode, all[i].Messages = result.StatusCode, result.Messages
				continue
			}
			at[name] = len(all)
			all = append(all, result)
		}
		if q.NextToken = page.NextToken; q.NextToken == "" {
			return all, s.complete(all)
		}
	}
	return nil, s.wire.Query("its answer has too many pages")
}

// complete refuses what is only a part of the data.
func (s *Source) complete(all []result) error {
	for _, result := range all {
		var said []string
		for _, m := range result.Messages {
			said = append(said, m.Code+" "+m.Value)
		}
		switch result.StatusCode {
		case "Complete":
		case "Forbidden":
			return s.wire.Refused(http.StatusForbidden, []byte(strings.Join(said, "; ")))
		default: // PartialData, InternalError
			return s.wire.Trouble("the data is not complete " + strings.Join(said, "; "))
		}
	}
	return nil
}

// credentialWords are what refusals say, with status 400, that somebody may mend while a delivery waits.
var credentialWords = regexp.MustCompile(`: (ExpiredToken|InvalidClientTokenId|UnrecognizedClient|SignatureDoesNotMatch|AccessDenied|InvalidSignature|IncompleteSignature|MissingAuthentication)`)

// mended makes a refusal of credentials one that may pass.
func mended(err error) error {
	var f *metrics.Failure
	if errors.As(err, &f) && credentialWords.MatchString(f.Words) {
		return &metrics.Failure{Words: f.Words + ": check the credentials and their rights in Slipway's configuration", Err: f.Err}
	}
	return err
}
