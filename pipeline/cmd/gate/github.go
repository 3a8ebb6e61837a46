package main

// GithubCmd is what gate does on GitHub.
type GithubCmd struct {
	Publish     GithubPublishCmd     `cmd:"" help:"Judge what a workflow has measured, and publish the verdict."`
	Command     GithubCommandCmd     `cmd:"" help:"Carry out a comment that begins with /gate."`
	Init        GithubInitCmd        `cmd:"" help:"Write the workflows and CODEOWNERS."`
	Deployments GithubDeploymentsCmd `cmd:"" help:"Show an environment's promotions as deployments."`
}
