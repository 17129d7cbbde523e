package gitlabsim

// Report is the test report of a job.
type Report struct {
	Tests []Test
	Error string // the report can't be read, and GitLab says why; Tests count for nothing then
}

// Test is one test case.
type Test struct {
	Name   string
	Class  string
	Status string // success (the default), failed, skipped or error
	Output string
}

// reported tells that the job has ended and uploaded a report.
func (j *Job) reported() bool {
	return j.spec.Report != nil && !j.Retried && (j.Status == "success" || j.Status == "failed")
}

func getTestReport(c *call) answer {
	pl, err := c.pipeline()
	if err != nil {
		return *err
	}
	suites, total := []any{}, map[string]int{}
	for _, j := range pl.Jobs {
		if !j.reported() {
			continue
		}
		counts, cases := j.spec.Report.read()
		suite := countFields(counts)
		suite["name"], suite["total_time"], suite["suite_error"], suite["test_cases"] = j.Name, 0, orNil(j.spec.Report.Error), cases
		suites = append(suites, suite)
		for status, n := range counts {
			total[status] += n
		}
	}
	e := countFields(total)
	e["total_time"], e["test_suites"] = 0, suites
	return ok(e)
}

func getTestReportSummary(c *call) answer {
	pl, err := c.pipeline()
	if err != nil {
		return *err
	}
	suites, total := []any{}, map[string]int{}
	for _, j := range pl.Jobs {
		if !j.reported() {
			continue
		}
		counts, _ := j.spec.Report.read()
		suite := countFields(counts)
		suite["name"], suite["total_time"], suite["suite_error"], suite["build_ids"] = j.Name, 0, orNil(j.spec.Report.Error), []int64{j.ID}
		suites = append(suites, suite)
		for status, n := range counts {
			total[status] += n
		}
	}
	return ok(obj{"test_suites": suites, "total": obj{
		"time": 0, "count": total["total"], "success": total["success"], "failed": total["failed"], "skipped": total["skipped"],
		"error": total["error"], "suite_error": nil,
	}})
}

// read counts the tests by status, and in all, and shows them.
func (r *Report) read() (map[string]int, []any) {
	counts, cases := map[string]int{}, []any{}
	if r.Error != "" {
		return counts, cases
	}
	for _, t := range r.Tests {
		if t.Status == "" {
			t.Status = "success"
		}
		counts[t.Status]++
		counts["total"]++
		cases = append(cases, obj{
			"status": t.Status, "name": t.Name, "classname": t.Class, "file": nil, "execution_time": 0.01, "system_output": orNil(t.Output), "stack_trace": nil,
		})
	}
	return counts, cases
}

func countFields(counts map[string]int) obj {
	return obj{
		"total_count": counts["total"], "success_count": counts["success"], "failed_count": counts["failed"],
		"skipped_count": counts["skipped"], "error_count": counts["error"],
	}
}
