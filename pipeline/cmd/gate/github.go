package main

// GithubCmd is what gate does on GitHub.
type GithubCmd struct {
	Publish     GithubPublishCmd     `cmd:"" help:"Judge what a workflow has measured, and publish the verdict."`
	Deployments GithubDeploymentsCmd `cmd:"" help:"Show an environment's promotions as deployments."`
}
