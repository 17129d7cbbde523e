// Package chatops holds what every chat has in common: the commands that people type,
// and the card that shows a delivery. Nothing here knows how a certain chat looks:
// texts are plain, and whoever renders them escapes them.
package chatops
