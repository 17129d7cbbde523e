// Package wire is what all metrics sources need to ask their systems by HTTP: questions are signed, limited in rate,
// asked again where that helps, and bounded in time and size; refusals become words for people without secrets; and
// what is answered is put on the steps of a range.
//
// A question changes nothing, so asking it twice does no harm, whatever its method.
package wire
