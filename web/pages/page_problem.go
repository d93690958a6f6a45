package pages

import (
	"net/http"

	"tiwsnap/web"
)

var problemPage = page("problem.html")

// problemData is the data of the page of a problem.
type problemData struct {
	Detail string
	Faults []web.Fault
}

// formLabels are the keys of the labels of form fields, by the names of the fields. A field that is not here, such as
// SdkAppId, has its name as its label.
var formLabels = map[string]string{
	"cursor": "field.cursor",
	"day":    "filter.day",
	"days":   "share.days",
	"form":   "field.form",
	"limit":  "limit.number",
	"list":   "field.list",
	"name":   "new.name",
	"state":  "filter.state",
	"zone":   "zone.label",
}

// Label returns the key of the label of a field; empty: the field is shown by its name, as those of rows are.
func (problemData) Label(f web.Fault) string {
	if f.Line > 0 {
		return ""
	}
	return formLabels[f.Field]
}

// ShowProblem writes a problem as a page.
func ShowProblem(w http.ResponseWriter, r *http.Request, p *web.Problem) {
	l := langOf(r)
	title := l.say("problem." + p.Code)
	if title == "problem."+p.Code {
		title = p.Title
	}
	d := problemData{p.Detail, p.Faults}
	if len(d.Faults) == 1 && d.Detail == d.Faults[0].Field+" "+d.Faults[0].Reason {
		d.Detail = "" // the list of faults has it
	}
	newView(r, title, d).show(w, r, p.Status, problemPage) // the template is compiled in, and cannot fail
}
