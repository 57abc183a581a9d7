// Renders panels from their query results with Grafana's own code, and prints the text and the links of each cell.
//
// Each line of standard input is {panel, variables, time, results: {refId: [{metric, value}]}}. `panel` is from a
// dashboard's JSON, `results` are vectors from Prometheus, or matrices with `values` for a trend, and `time` is in
// milliseconds. For each line, this script writes one line to standard output: the rows of a table, or the values of a
// stat panel. A cell is {text, links}. A value also has the numbers of its trend, or null if it has none.
"use strict";

const { JSDOM } = require("jsdom");
const { window } = new JSDOM("<!doctype html>", { url: "http://localhost:3000/" });
for (const [name, value] of Object.entries({ window, document: window.document, navigator: window.navigator })) {
  Object.defineProperty(globalThis, name, { value, configurable: true }); // Node 21 and later already define navigator
}

const data = require("@grafana/data");
const { FieldType } = data;

const theme = data.createTheme();
data.locationUtil.initialize({
  config: { appSubUrl: "" },
  getVariablesUrlParams: () => ({}),
  getTimeRangeForUrl: () => ({ from: "now-24h", to: "now" }),
});
const { mergeTransformer, filterByValueTransformer, organizeFieldsTransformer } = data.standardTransformers;
for (const transformation of [mergeTransformer, filterByValueTransformer, organizeFieldsTransformer]) {
  data.standardTransformersRegistry.register({ id: transformation.id, name: transformation.name, transformation });
}
for (const [id, process] of Object.entries({
  unit: data.unitOverrideProcessor,
  displayName: data.displayNameOverrideProcessor,
  noValue: data.stringOverrideProcessor,
  color: data.identityOverrideProcessor,
  thresholds: data.thresholdsOverrideProcessor,
  mappings: data.valueMappingsOverrideProcessor,
  links: data.dataLinksOverrideProcessor,
})) {
  data.standardFieldConfigEditorRegistry.register({ id, path: id, name: id, process, shouldApply: () => true });
}

// Returns the table that Grafana's Prometheus data source creates from a vector: a text column for each label, then the
// value.
function table(refId, vector, time, alone) {
  const labels = [...new Set(vector.flatMap(({ metric }) => Object.keys(metric)))].sort();
  return data.createDataFrame({
    refId,
    fields: [
      { name: "Time", type: FieldType.time, values: vector.map(() => time) },
      ...labels.map((label) => ({
        name: label,
        type: FieldType.string,
        config: { filterable: true },
        values: vector.map(({ metric }) => metric[label] ?? ""),
      })),
      { name: alone ? "Value" : `Value #${refId}`, type: FieldType.number, values: vector.map((s) => Number(s.value[1])) },
    ],
  });
}

// Returns the frames that the data source creates from a vector or matrix for a time series: one for each series. Its
// name is the legend.
function series(target, results, time) {
  return results.map(({ metric, value, values }) => {
    const samples = values ?? [[time / 1000, value[1]]];
    const legend = target.legendFormat.replace(/{{(\w+)}}/g, (_, label) => metric[label] ?? "");
    return data.createDataFrame({
      refId: target.refId,
      fields: [
        { name: "Time", type: FieldType.time, values: samples.map(([seconds]) => seconds * 1000) },
        {
          name: "Value",
          type: FieldType.number,
          labels: metric,
          config: { displayNameFromDS: legend },
          values: samples.map(([, number]) => Number(number)),
        },
      ],
    });
  });
}

// Returns a function that replaces ${name}, ${name:format} and $name with values of the dashboard's variables, and with
// values of the row that contains the link.
function replacer(variables) {
  const formats = { percentencode: encodeURIComponent, text: String };
  return (text, scoped) =>
    text.replace(/\$(?:{([\w.]+)(?::(\w+))?}|(\w+))/g, (all, braced, format, plain) => {
      const name = braced ?? plain;
      if (format === "queryparam") {
        return `var-${name}=${encodeURIComponent(variables[name])}`;
      }
      if (name === "__url_time_range") {
        return "from=now-24h&to=now";
      }
      const label = /^__field\.labels\.(\w+)$/.exec(name);
      if (label) {
        return formats[format](scoped.__dataContext.value.field.labels[label[1]]);
      }
      const field = /^__data\.fields\.(\w+)$/.exec(name);
      if (field) {
        const { frame, rowIndex } = scoped.__dataContext.value;
        const shown = data.getFieldDisplayValuesProxy({ frame, rowIndex })[field[1]];
        return (formats[format] ?? encodeURI)(data.formattedValueToString(shown));
      }
      return name in variables ? variables[name] : all;
    });
}

function cell(display, links) {
  return { text: data.formattedValueToString(display), links: links.map(({ href }) => href) };
}

function transform(panel, frames, replaceVariables) {
  const context = { interpolate: (text) => replaceVariables(text, {}) };
  return new Promise((done, failed) =>
    data.transformDataFrame(panel.transformations ?? [], frames, context).subscribe({ next: done, error: failed }),
  );
}

async function shown({ panel, variables, time, results }) {
  const replaceVariables = replacer(variables);
  const settings = { fieldConfig: panel.fieldConfig, replaceVariables, theme, timeZone: "utc" };
  if (panel.type === "stat") {
    const frames = panel.targets.flatMap((target) => series(target, results[target.refId], time));
    const values = data.getFieldDisplayValues({
      ...settings,
      data: data.applyFieldOverrides({ ...settings, data: await transform(panel, frames, replaceVariables) }),
      reduceOptions: panel.options.reduceOptions,
      sparkline: panel.options.graphMode !== "none",
    });
    return values.map(({ display, getLinks, hasLinks, sparkline }) => ({
      name: display.title,
      trend: sparkline?.y.values ?? null,
      ...cell(display, hasLinks ? getLinks({}) : []),
    }));
  }
  const alone = panel.targets.length === 1;
  const frames = panel.targets.map(({ refId }) => table(refId, results[refId], time, alone));
  const transformed = await transform(panel, frames, replaceVariables);
  const [frame] = data.applyFieldOverrides({ ...settings, data: transformed });
  return Array.from({ length: frame?.length ?? 0 }, (_, rowIndex) =>
    Object.fromEntries(
      frame.fields.map((field) => [
        data.getFieldDisplayName(field, frame),
        cell(field.display(field.values[rowIndex]), field.getLinks({ valueRowIndex: rowIndex })),
      ]),
    ),
  );
}

async function main() {
  for await (const line of require("node:readline").createInterface({ input: process.stdin })) {
    process.stdout.write(JSON.stringify(await shown(JSON.parse(line))) + "\n");
  }
}

main();
