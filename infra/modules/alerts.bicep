// What an operator is told of. Queries lie in infra/queries, so that tests can run through them.

param token string
param location string
param tags object
param workspaceId string
param topicId string
param systemTopicId string
param email string
param modelName string
@description('The day the model is retired, as yyyy-mm-dd; empty: not known.')
param modelRetires string

var retirementQuery = replace(replace(loadTextContent('../queries/model-retires.kql'), 'MODEL_NAME', modelName), 'MODEL_RETIRES', modelRetires)
var queryAlerts = [
  {
    name: 'poison'
    text: 'A message failed five times. What it stood for was ended with an event, or is tried later.'
    severity: 2
    frequency: 'PT5M'
    window: 'PT15M'
    query: loadTextContent('../queries/poison.kql')
  }
  {
    name: 'deployment-out'
    text: 'A deployment refuses all calls (rights, network, name): /api/health/details says why.'
    severity: 1
    frequency: 'PT5M'
    window: 'PT15M'
    query: loadTextContent('../queries/deployment-out.kql')
  }
  {
    name: 'jobs-failed'
    text: 'Jobs fail for reasons that are not their callers\'.'
    severity: 2
    frequency: 'PT15M'
    window: 'PT1H'
    query: loadTextContent('../queries/jobs-failed.kql')
  }
  {
    name: 'functions-failed'
    text: 'Functions end with errors: storage or the app itself.'
    severity: 2
    frequency: 'PT15M'
    window: 'PT1H'
    query: loadTextContent('../queries/functions-failed.kql')
  }
  {
    name: 'events-waiting'
    text: 'The events topic or a receiver of callbacks does not take what it is sent.'
    severity: 2
    frequency: 'PT15M'
    window: 'PT1H'
    query: loadTextContent('../queries/events-waiting.kql')
  }
  {
    name: 'model-retires'
    text: 'The model ${modelName} is retired on ${modelRetires}: deploy another one before, see docs/deploy.md.'
    severity: 2
    frequency: 'P1D'
    window: 'P1D'
    query: retirementQuery
  }
]
var deadLetterTopics = [
  {
    name: 'uploads'
    id: systemTopicId
    type: 'Microsoft.EventGrid/systemTopics'
    text: 'Event Grid gave up events of uploads and put them into container dead-letters: their folders were not looked at.'
  }
  {
    name: 'events'
    id: topicId
    type: 'Microsoft.EventGrid/topics'
    text: 'A subscriber did not take events of jobs for as long as its subscription tries.'
  }
]

resource receivers 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(email)) {
  name: 'ag-${token}'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'darkroom'
    enabled: true
    emailReceivers: [
      {
        name: 'operator'
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

var receiverIds = empty(email) ? [] : [receivers.id]
var metricActions = [for id in receiverIds: {
  actionGroupId: id
}]

resource queryRules 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [for alert in queryAlerts: {
  name: 'darkroom-${alert.name}-${token}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: 'Darkroom: ${alert.name}'
    description: alert.text
    severity: alert.severity
    enabled: true
    scopes: [
      workspaceId
    ]
    evaluationFrequency: alert.frequency
    windowSize: alert.window
    criteria: {
      allOf: [
        {
          query: alert.query
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: 0
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    autoMitigate: false
    // The tables are there only after the app's first hour.
    skipQueryValidation: true
    actions: {
      actionGroups: receiverIds
    }
  }
}]

resource deadLetterRules 'Microsoft.Insights/metricAlerts@2018-03-01' = [for topic in deadLetterTopics: {
  name: 'darkroom-dead-letters-${topic.name}-${token}'
  location: 'global'
  tags: tags
  properties: {
    description: topic.text
    severity: 2
    enabled: true
    scopes: [
      topic.id
    ]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    targetResourceType: topic.type
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'dead-lettered'
          metricNamespace: topic.type
          metricName: 'DeadLetteredCount'
          timeAggregation: 'Total'
          operator: 'GreaterThan'
          threshold: 0
        }
      ]
    }
    autoMitigate: true
    actions: metricActions
  }
}]
