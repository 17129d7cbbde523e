package gitlabsim

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// group is the group of the path that the caller can see, nil if there is none.
func (c *call) group() *group {
	for path, gr := range c.g.groups {
		if (path == c.vars["id"] || strconv.FormatInt(gr.ID, 10) == c.vars["id"]) && c.seesGroup(path) {
			return gr
		}
	}
	return nil
}

// listGroupProjects answers what the caller can see of a group's projects, with those of the groups below it where asked.
func listGroupProjects(c *call) answer {
	gr := c.group()
	if gr == nil {
		return notFound("Group")
	}
	var found []*project
	for _, id := range slices.Sorted(maps.Keys(c.g.projects)) {
		p := c.g.projects[id]
		below := namespace(p.Path) == gr.Path || c.flag("include_subgroups") && strings.HasPrefix(p.Path, gr.Path+"/")
		if below && (c.user.Admin || c.g.level(p, c.user.ID) != NoAccess) {
			found = append(found, p)
		}
	}
	return paginate(c, found, func(p *project) any { return c.g.projectEntity(p) })
}

// listGroupHooks answers Owners, as GitLab does from the Premium tier on.
func listGroupHooks(c *call) answer {
	gr := c.group()
	if gr == nil {
		return notFound("Group")
	}
	if !c.user.Admin && c.g.groupLevel(gr.Path, c.user.ID) < Owner {
		return forbidden("")
	}
	return paginate(c, gr.hooks, func(h *Hook) any {
		e := c.g.anyHookEntity(h)
		e["group_id"] = gr.ID
		return e
	})
}

func getOwnToken(c *call) answer {
	e := obj{
		"id": c.token.userID, "name": "slipway", "revoked": false, "active": true, "user_id": c.token.userID, "scopes": c.token.scopes,
		"created_at": "2024-01-01T00:00:00.000Z", "last_used_at": apiTime(c.g.now()), "expires_at": nil,
	}
	if !c.token.expires.IsZero() {
		e["expires_at"] = c.token.expires.Format("2006-01-02")
	}
	return ok(e)
}

func getVersion(*call) answer { return ok(obj{"version": "19.5.0-ee", "revision": "045bf8777ea"}) }
