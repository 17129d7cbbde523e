// Package slacksim is a Slack workspace in memory, served over HTTP: a Web API as strict as the real one,
// and people who press buttons, fill in modals and type commands.
//
// It stands at the wire. An app talks to it with an ordinary Slack client whose API address is [Sim.URL],
// and hears from it by signed requests to its interactivity and command addresses. Whatever the app did is
// seen through [Sim.Snapshot], [Sim.Messages], [Sim.History] and [Sim.Calls].
//
// Rules, limits and names of errors follow the method and Block Kit reference at https://docs.slack.dev.
// Where the reference is silent, the simulator takes the stricter reading.
package slacksim
