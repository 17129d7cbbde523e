package spec

import (
	"cel.dev/cel-go/common/types"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// The variables of expressions: application, commit, merge_request, project and stages. Their
// values are maps; provider tells CEL which fields the maps have, so that a field
// that does not exist is an error of the file and not of the delivery.

type objectField struct {
	name string
	kind *types.Type
}

func objectFields(typeName string) []objectField {
	text, texts, number, yes := types.StringType, types.NewListType(types.StringType), types.IntType, types.BoolType
	switch typeName {
	case "Commit":
		return []objectField{{"sha", text}, {"short_sha", text}, {"ref", text}, {"title", text}, {"author", text}, {"author_email", text}}
	case "MergeRequest":
		return []objectField{{"iid", number}, {"title", text}, {"url", text}, {"source_branch", text}, {"target_branch", text},
			{"labels", texts}, {"author", text}, {"merged_by", text}}
	case "Project":
		return []objectField{{"id", number}, {"path", text}, {"url", text}, {"default_branch", text}}
	case "Stage":
		return []objectField{{"status", text}, {"succeeded", yes}, {"failed", yes}, {"environment", text}, {"attempt", number},
			{"reason", text}, {"approved_by", texts}}
	}
	return nil
}

// variables are the values for a commit; stages may be nil.
func variables(in Input, application string, stages map[string]any) map[string]any {
	c, mr, p := in.Commit, in.MergeRequest, in.Project
	if stages == nil {
		stages = map[string]any{}
	}
	labels := mr.Labels
	if labels == nil {
		labels = []string{}
	}
	return map[string]any{
		"application": application,
		"commit": map[string]any{"sha": c.SHA, "short_sha": c.ShortSHA, "ref": c.Ref, "title": c.Title, "author": c.Author,
			"author_email": c.AuthorEmail},
		"merge_request": map[string]any{"iid": mr.IID, "title": mr.Title, "url": mr.URL, "source_branch": mr.SourceBranch,
			"target_branch": mr.TargetBranch, "labels": labels, "author": mr.AuthorUsername, "merged_by": mr.MergedBy},
		"project": map[string]any{"id": p.ID, "path": p.Path, "url": p.URL, "default_branch": p.DefaultBranch},
		"stages":  stages,
	}
}

// stageValues are the stages that come before one, as the delivery knows them.
func stageValues(plan *pipeline.Plan, d *pipeline.Delivery, before map[string]bool) map[string]any {
	values := map[string]any{}
	for _, s := range d.Stages {
		def, ok := d.Definition(plan, s.Name)
		if !ok || !before[s.Name] {
			continue
		}
		approvedBy := []string{}
		for _, dec := range d.Decisions {
			if dec.Stage == s.Name && dec.Attempt == s.Attempt && dec.What == pipeline.VerbApprove {
				approvedBy = append(approvedBy, dec.By.Username)
			}
		}
		values[s.Name] = map[string]any{
			"status":      string(s.Status),
			"succeeded":   s.Status == pipeline.StageSucceeded,
			"failed":      failed(s.Status),
			"environment": def.Environment(), "attempt": int64(s.Attempt), "reason": s.Reason.String(), "approved_by": approvedBy,
		}
	}
	return values
}

// failed tells that the stage ended, and neither well nor by being left out.
func failed(s pipeline.StageStatus) bool {
	switch s {
	case pipeline.StageFailed, pipeline.StageRolledBack, pipeline.StageRejected, pipeline.StageExpired, pipeline.StageCanceled:
		return true
	default:
		return false
	}
}

// provider adds the types of the variables to CEL's own.
type provider struct{ *types.Registry }

// FindStructType knows the types of the variables by name.
func (p *provider) FindStructType(name string) (*types.Type, bool) {
	if objectFields(name) != nil {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Registry.FindStructType(name)
}

// FindStructFieldNames lists the fields of such a type.
func (p *provider) FindStructFieldNames(name string) ([]string, bool) {
	var names []string
	for _, f := range objectFields(name) {
		names = append(names, f.name)
	}
	if names != nil {
		return names, true
	}
	return p.Registry.FindStructFieldNames(name)
}

// FindStructFieldType gives the type of one of its fields.
func (p *provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	for _, f := range objectFields(name) {
		if f.name == field {
			return &types.FieldType{Type: f.kind}, true
		}
	}
	return p.Registry.FindStructFieldType(name, field)
}
