package gitlabsim

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
)

func rawJSON(b []byte) any { return json.RawMessage(b) }

func getSelf(c *call) answer { return ok(c.g.fullUserEntity(c.user)) }

// listUsers finds by exact username, or by search: parts of names, and whole e-mail addresses. An address that isn't
// in the profile is found by administrators only.
func listUsers(c *call) answer {
	username, byName := c.text("username")
	search, bySearch := c.text("search")
	var found []*User
	for _, id := range slices.Sorted(maps.Keys(c.g.users)) {
		u := c.g.users[id]
		if byName && !strings.EqualFold(u.Username, username) || bySearch && !matches(u, search, c.user.Admin) {
			continue
		}
		if c.flag("active") && u.State != "active" || c.flag("blocked") && u.State != "blocked" || c.flag("humans") && u.Bot {
			continue
		}
		found = append(found, u)
	}
	slices.Reverse(found) // newest first
	return paginate(c, found, func(u *User) any {
		if c.user.Admin {
			return c.g.fullUserEntity(u)
		}
		return c.g.userEntity(u.ID)
	})
}

func matches(u *User, search string, admin bool) bool {
	if strings.Contains(search, "@") {
		return strings.EqualFold(publicEmail(u), search) || admin && strings.EqualFold(u.Email, search)
	}
	search = strings.ToLower(search)
	return strings.Contains(strings.ToLower(u.Username), search) || strings.Contains(strings.ToLower(u.Name), search)
}

func getProject(c *call) answer { return ok(c.g.projectEntity(c.p)) }

func (g *GitLab) memberEntity(userID int64, level int) any {
	e, _ := g.userEntity(userID).(obj)
	e["access_level"], e["created_at"], e["expires_at"], e["membership_state"] = level, "2024-01-01T00:00:00.000Z", nil, "active"
	return e
}

func listMembers(c *call) answer {
	var ids []int64
	only := c.list("user_ids")
	for _, id := range slices.Sorted(maps.Keys(c.g.users)) {
		if c.g.level(c.p, id) == NoAccess || len(only) > 0 && !slices.Contains(only, strconv.FormatInt(id, 10)) {
			continue
		}
		if q, given := c.text("query"); given && !matches(c.g.users[id], q, false) {
			continue
		}
		ids = append(ids, id)
	}
	return paginate(c, ids, func(id int64) any { return c.g.memberEntity(id, c.g.level(c.p, id)) })
}

func getMember(c *call) answer {
	id, err := c.varID("user_id")
	if err != nil {
		return *err
	}
	level := c.g.level(c.p, id)
	if c.g.users[id] == nil || level == NoAccess {
		return notFound("")
	}
	return ok(c.g.memberEntity(id, level))
}

// getGroupMember answers for members of a group, also by way of those above it.
func getGroupMember(c *call) answer {
	return groupMember(c, func(gr *group, id int64) int { return c.g.groupLevel(gr.Path, id) })
}

// getDirectGroupMember leaves out who is a member only of a group above.
func getDirectGroupMember(c *call) answer {
	return groupMember(c, func(gr *group, id int64) int { return gr.members[id] })
}

// groupMember answers for groups that the caller can see: as a member, or as a member of one of its projects.
func groupMember(c *call, levelOf func(*group, int64) int) answer {
	id, err := c.varID("user_id")
	if err != nil {
		return *err
	}
	gr := c.group()
	if gr == nil {
		return notFound("Group")
	}
	level := levelOf(gr, id)
	if level == NoAccess {
		return notFound("")
	}
	return ok(c.g.memberEntity(id, level))
}

func (c *call) seesGroup(path string) bool {
	if c.user.Admin || c.g.groupLevel(path, c.user.ID) != NoAccess {
		return true
	}
	for _, p := range c.g.projects {
		if strings.HasPrefix(p.Path, path+"/") && c.g.level(p, c.user.ID) != NoAccess {
			return true
		}
	}
	return false
}

func getFile(c *call) answer {
	at := c.p.resolve(c.str("ref"))
	if at == nil {
		return notFound("Commit")
	}
	content, found := at.files[c.vars["file_path"]]
	if !found {
		return notFound("File")
	}
	h := http.Header{}
	h.Set("X-Gitlab-File-Path", c.vars["file_path"])
	h.Set("X-Gitlab-Commit-Id", at.SHA)
	h.Set("X-Gitlab-Size", strconv.Itoa(len(content)))
	return answer{status: http.StatusOK, raw: []byte(content), kind: "text/plain; charset=utf-8", header: h}
}

// getArchive answers a tar.gz as git archive makes it: a global header with the commit, and one top folder. The API
// appends the commit to the name also where the ref is the commit already.
func getArchive(c *call) answer {
	if kind, given := c.text("format"); given && kind != "tar.gz" {
		return invalid("format does not have a supported value here")
	}
	ref := c.str("sha")
	if ref == "" {
		ref = c.p.DefaultBranch
	}
	at := c.p.resolve(ref)
	if at == nil {
		return notFound("File")
	}
	sub := strings.Trim(c.str("path"), "/")
	top := c.p.Path[strings.LastIndex(c.p.Path, "/")+1:] + "-" + strings.ReplaceAll(ref, "/", "-") + "-" + at.SHA
	if sub != "" {
		top += "-" + strings.ReplaceAll(sub, "/", "-")
	}
	var buf bytes.Buffer
	found, err := writeArchive(&buf, at, top, sub)
	if err != nil {
		return failure(http.StatusInternalServerError)
	}
	if !found {
		return notFound("File")
	}
	h := http.Header{}
	h.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", top+".tar.gz"))
	return answer{status: http.StatusOK, raw: buf.Bytes(), kind: "application/octet-stream", header: h}
}

func writeArchive(w io.Writer, at *commit, top, sub string) (found bool, err error) {
	zw := gzip.NewWriter(w)
	tw := tar.NewWriter(zw)
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": at.SHA}}); err != nil {
		return false, err
	}
	folders := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(at.files)) {
		if sub != "" && name != sub && !strings.HasPrefix(name, sub+"/") {
			continue
		}
		found = true
		full := top + "/" + name
		for _, folder := range parents(full) {
			if folders[folder] {
				continue
			}
			folders[folder] = true
			if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: folder + "/", Mode: 0o775, ModTime: at.At}); err != nil {
				return false, err
			}
		}
		content := at.files[name]
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: full, Mode: 0o664, Size: int64(len(content)), ModTime: at.At}); err != nil {
			return false, err
		}
		if _, err := io.WriteString(tw, content); err != nil {
			return false, err
		}
	}
	if err := tw.Close(); err != nil {
		return false, err
	}
	return found, zw.Close()
}

func parents(name string) []string {
	var all []string
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		all = append([]string{dir}, all...)
	}
	return all
}

func getCommit(c *call) answer {
	at := c.p.resolve(c.vars["sha"])
	if at == nil {
		return notFound("Commit")
	}
	e := c.g.commitEntity(c.p, at)
	e["project_id"], e["stats"], e["status"], e["last_pipeline"] = c.p.ID, obj{"additions": 1, "deletions": 0, "total": 1}, nil, nil
	for _, pl := range c.p.pipelines {
		if pl.SHA == at.SHA {
			e["status"], e["last_pipeline"] = pl.Status, c.g.pipelineEntity(c.p, pl)
		}
	}
	return ok(e)
}

func listCommitMergeRequests(c *call) answer {
	at := c.p.resolve(c.vars["sha"])
	if at == nil {
		return notFound("Commit")
	}
	var found []*MergeRequest
	for _, mr := range slices.Backward(c.p.mrs) {
		if mr.MergeCommitSHA == at.SHA || mr.SquashCommitSHA == at.SHA || slices.Contains(mr.commits, at.SHA) {
			if state, given := c.text("state"); !given || state == "all" || state == mr.State {
				found = append(found, mr)
			}
		}
	}
	return paginate(c, found, func(mr *MergeRequest) any { return c.g.mergeRequestEntity(c.p, mr) })
}

func listFreezePeriods(c *call) answer {
	return paginate(c, c.p.freezes, func(f FreezePeriod) any {
		return obj{
			"id": f.ID, "freeze_start": f.Start, "freeze_end": f.End, "cron_timezone": f.Timezone,
			"created_at": apiTime(f.CreatedAt), "updated_at": apiTime(f.CreatedAt),
		}
	})
}

func createUpload(c *call) answer {
	kind, params, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" {
		return invalid("file is missing")
	}
	form := multipart.NewReader(bytes.NewReader(c.body), params["boundary"])
	for {
		part, err := form.NextPart()
		if err != nil {
			return invalid("file is missing")
		}
		if part.FormName() != "file" || part.FileName() == "" {
			continue
		}
		data, err := io.ReadAll(part)
		if err != nil {
			return invalid("file is invalid")
		}
		id := c.g.next("upload")
		up := Upload{ID: id, Secret: fmt.Sprintf("%032x", 0xabc0000+id), Filename: path.Base(part.FileName()), Data: data}
		c.p.uploads = append(c.p.uploads, up)
		alt := strings.TrimSuffix(up.Filename, path.Ext(up.Filename))
		link := "/uploads/" + up.Secret + "/" + up.Filename
		return created(obj{
			"id": id, "alt": alt, "url": link, "full_path": fmt.Sprintf("/-/project/%d%s", c.p.ID, link),
			"markdown": fmt.Sprintf("![%s](%s)", alt, link),
		})
	}
}
