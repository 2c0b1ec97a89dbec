'use strict'
// Runs: the list with its search language, one run, runs side by side. What the console's page offers is used as it is.
const COLORS=['#0f9488','#e0662b','#3b73e0','#b83fc0','#7a9a1b','#d23c4e','#0a94c9','#a5712a']
const SHOWN=6,picked=new Set(),images=new Map()
const own=names=>names.filter(n=>!n.startsWith('system.'))
const field=(kind,name)=>`${kind}.${/^[A-Za-z][\w./:-]*$/.test(name)?name:'`'+name+'`'}`
const value=v=>v===null||v===undefined?'-':typeof v==='number'?Number.isInteger(v)?String(v):Math.abs(v)>=1e5||Math.abs(v)<1e-3?v.toExponential(2):String(+v.toPrecision(5)):typeof v==='object'?JSON.stringify(v):String(v)
const took=s=>s===null||s===undefined?'-':s<1?`${Math.round(s*1000)} ms`:s<120?`${s.toFixed(1)} s`:s<7200?`${Math.round(s/60)} min`:`${(s/3600).toFixed(1)} h`
const badge=s=>el('span',{className:`badge ${s}`},s)
const runLink=(r,text)=>el('a',{href:'#run:'+r.id},text||r.name)
const chip=(name,text)=>el('span',{className:'chip'},el('span',{className:'soft'},name+' '),text)
function svgEl(tag,attributes,text){const e=document.createElementNS('http://www.w3.org/2000/svg',tag);for(const[n,v]of Object.entries(attributes))e.setAttribute(n,v);if(text!==undefined)e.textContent=text;return e}
function ticks(low,high,count){
 const rough=(high-low)/count||1,power=10**Math.floor(Math.log10(rough)),step=[1,2,2.5,5,10].map(m=>m*power).find(s=>s>=rough),found=[]
 for(let at=Math.ceil(low/step-1e-9)*step;at<=high+step*1e-9;at+=step)found.push(+at.toPrecision(12))
 return found}
// Courses of a metric: series of {name, color, points: [{step, value}], dots}.
function curves(title,series,{height=200,names=false,wide=520}={}){
 const w=wide,left=52,right=12,top=10,bottom=26,drawn=series.map(s=>({...s,points:s.points.filter(p=>Number.isFinite(p.value))})).filter(s=>s.points.length)
 if(!drawn.length)return null
 const all=drawn.flatMap(s=>s.points),[x0,x1]=[Math.min(...all.map(p=>p.step)),Math.max(...all.map(p=>p.step))]
 let[y0,y1]=[Math.min(...all.map(p=>p.value)),Math.max(...all.map(p=>p.value))];if(y0===y1){const pad=Math.abs(y0)*.1||1;y0-=pad;y1+=pad}
 const x=s=>left+(w-left-right)*(x1===x0?.5:(s-x0)/(x1-x0)),y=v=>top+(height-top-bottom)*(1-(v-y0)/(y1-y0))
 const svg=svgEl('svg',{viewBox:`0 0 ${w} ${height}`,width:'100%',role:'img','aria-label':`Course of ${title}`})
 for(const t of ticks(y0,y1,height>150?5:3))svg.append(svgEl('line',{x1:left,x2:w-right,y1:y(t),y2:y(t),stroke:'var(--line)'}),svgEl('text',{x:left-6,y:y(t)+4,'text-anchor':'end'},value(t)))
 for(const t of ticks(x0,x1,w>400?6:3).filter(t=>Number.isInteger(t)))svg.append(svgEl('text',{x:x(t),y:height-8,'text-anchor':'middle'},value(t)))
 for(const s of drawn){
  if(s.dots)s.points.forEach(p=>svg.append(svgEl('circle',{cx:x(p.step),cy:y(p.value),r:3.2,fill:s.color,opacity:.75})))
  else if(s.points.length===1)svg.append(svgEl('circle',{cx:x(s.points[0].step),cy:y(s.points[0].value),r:3,fill:s.color}))
  else svg.append(svgEl('polyline',{fill:'none',stroke:s.color,'stroke-width':1.8,'stroke-linejoin':'round',points:s.points.map(p=>`${x(p.step).toFixed(1)},${y(p.value).toFixed(1)}`).join(' ')}))}
 const mark=svgEl('line',{y1:top,y2:height-bottom,stroke:'var(--soft)','stroke-dasharray':'3 3',visibility:'hidden'}),said=el('span',{className:'soft said'})
 svg.append(mark)
 svg.onpointermove=e=>{
  const box=svg.getBoundingClientRect(),at=x0+((e.clientX-box.left)/box.width*w-left)/(w-left-right)*(x1-x0),near=s=>s.points.reduce((a,b)=>Math.abs(b.step-at)<Math.abs(a.step-at)?b:a)
  const step=near(drawn[0]).step;mark.setAttribute('x1',x(step));mark.setAttribute('x2',x(step));mark.setAttribute('visibility','visible')
  said.replaceChildren(`step ${step}`,...drawn.flatMap(s=>[' ',el('b',{style:`color:${s.color}`},value(near(s).value))]))}
 svg.onpointerleave=()=>{mark.setAttribute('visibility','hidden');said.replaceChildren()}
 return el('figure',{className:'plot'},el('figcaption',{},el('b',{},title),said),svg,names?el('div',{className:'legend'},...drawn.map(s=>el('span',{},el('i',{style:`background:${s.color}`}),s.name))):null)}
function ordered(query){const m=/^(.*?)(?:\s*\border\s+by\s+(.+?))?(?:\s+limit\s+\d+)?\s*$/is.exec(query)||[];return[m[1]||'',m[2]||'']}
function runTable(rows,{query=null,pick=true}={}){
 if(!rows.length)return el('p',{className:'soft'},'No run is like that.')
 const names=kind=>{const all=[...new Set(rows.flatMap(r=>Object.keys(r[kind])))].filter(n=>!n.startsWith('system.')&&!/\.fold\d+$/.test(n)),differ=n=>new Set(rows.map(r=>JSON.stringify(r[kind][n]))).size>1
  return all.sort((a,b)=>differ(b)-differ(a)).slice(0,SHOWN)}
 const metrics=names('metrics'),params=names('params'),[where,by]=query===null?['','']:ordered(query)
 const head=(text,key,cls='')=>{
  if(query===null||!key)return el('th',{className:cls,scope:'col'},text)
  const down=by===`${key} desc`,up=by===`${key} asc`||by===key
  return el('th',{className:cls,scope:'col',ariaSort:down?'descending':up?'ascending':'none'},el('button',{className:'head',onclick:()=>go(`${where} order by ${key} ${down?'asc':'desc'}`.trim())},text,down?' ↓':up?' ↑':''))}
 const several=name=>new Set(rows.map(r=>r[name])).size>1,grouped=several('experiment'),parts=several('segment')
 const check=r=>el('input',{type:'checkbox',checked:picked.has(r.id),ariaLabel:`Compare ${r.name}`,onchange:e=>{e.target.checked?picked.add(r.id):picked.delete(r.id);tell()}})
 return el('table',{className:'runs'},el('thead',{},el('tr',{},pick?el('th'):null,head('run','name'),grouped?head('experiment','experiment'):null,parts?head('segment','segment'):null,head('status','status'),head('when','started'),head('took','duration','n'),...metrics.map((n,i)=>head(n,field('metrics',n),'n'+(i?'':' edge'))),...params.map((n,i)=>head(n,field('params',n),'n'+(i?'':' edge'))))),
  el('tbody',{},...rows.map(r=>el('tr',{},pick?el('td',{},check(r)):null,el('td',{className:'w'},runLink(r,r.tags.trial===undefined?r.name:`trial ${r.tags.trial}`)),grouped?el('td',{className:'w'},r.experiment):null,parts?el('td',{},seg(r.segment)):null,el('td',{},badge(r.status)),el('td',{className:'w soft'},when(r.started)),el('td',{className:'n soft'},took(r.duration)),...metrics.map((n,i)=>el('td',{className:'n'+(i?'':' edge')},value(r.metrics[n]))),...params.map((n,i)=>el('td',{className:'n'+(i?'':' edge')},value(r.params[n])))))))}
const go=query=>{location.hash='runs:'+encodeURIComponent(query)}
function tell(){const bar=$('picked');if(!bar)return;bar.hidden=picked.size<1;bar.replaceChildren(`${picked.size} chosen `,el('button',{disabled:picked.size<2,className:'main',onclick:()=>{location.hash='compare:'+[...picked].join(',')}},'Compare'),' ',el('button',{onclick:()=>{picked.clear();draw(true)}},'Clear'))}
const chosen=()=>{setTimeout(tell);return el('div',{id:'picked',className:'picked',hidden:true})}
let draft=null
async function runsPage(query){
 const box=el('input',{id:'search',type:'search',value:draft??query,placeholder:"metrics.auc > 0.8 and params.depth = 6 order by metrics.auc desc",spellcheck:false,autocomplete:'off',ariaLabel:'Query',oninput:e=>{draft=e.target.value}})
 const form=el('form',{className:'ask',onsubmit:e=>{e.preventDefault();draft=null;const asked=box.value.trim();asked===query?draw(true):go(asked)}},box,el('button',{className:'main'},'Find'))
 const tries=[['newest',''],['running',"status = 'running'"],['failed',"status in ('failed', 'lost')"],['searches',"kind = 'search'"],['trainings',"kind = 'training'"],['last day','started > now - 1d']]
 const quick=el('p',{className:'quick'},...tries.map(([t,q])=>el('a',{href:'#runs:'+encodeURIComponent(q),className:q===query?'on':'',onclick:()=>{draft=null}},t)))
 let found
 try{const rows=await get('/api/runs',{where:query,limit:200});found=[el('p',{className:'soft'},rows.length===200?'The first 200; narrow the query, or order it.':`${num(rows.length)} run${rows.length===1?'':'s'}`),runTable(rows,{query})]}
 catch(e){found=[el('pre',{className:'critical'},e.message)]}
 return[el('p',{},el('a',{href:'#'},'Overview')),section('Runs',form,quick,chosen(),...found)]}
async function content(id,name){
 const r=await fetch('/api/artifact?'+new URLSearchParams({run:id,name}),{headers:token()?{authorization:'Bearer '+token()}:{}})
 if(!r.ok)throw new Error(r.statusText);return r.blob()}
const MEDIA={png:'image/png',jpg:'image/jpeg',jpeg:'image/jpeg',svg:'image/svg+xml',gif:'image/gif',webp:'image/webp'},TEXT=['txt','md','json','csv','log','py','yaml','yml','toml']
function dataUrl(blob,type){return new Promise((done,failed)=>{const r=new FileReader();r.onload=()=>done(r.result);r.onerror=failed;r.readAsDataURL(new Blob([blob],{type}))})}
async function artifact(id,name,digest){
 const ending=name.split('.').pop().toLowerCase(),save=el('button',{className:'link',onclick:async()=>{const a=el('a',{href:URL.createObjectURL(await content(id,name)),download:name.split('/').pop()});a.click();URL.revokeObjectURL(a.href)}},'save')
 const shell=(...kids)=>el('figure',{className:'artifact'},el('figcaption',{},el('b',{},name),save),...kids)
 try{
  if(MEDIA[ending]){if(!images.has(digest))images.set(digest,await dataUrl(await content(id,name),MEDIA[ending]));return shell(el('img',{src:images.get(digest),alt:name}))}
  if(ending==='parquet'){const t=await get('/api/table',{run:id,name,limit:12});return shell(el('div',{className:'scroll'},table(t.columns.map((c,i)=>t.numbers[i]?c+'#':c),t.rows.map(r=>r.map(value)))),el('p',{className:'soft'},`${num(t.total)} rows, ${t.columns.length} columns`))}
  if(TEXT.includes(ending)){const blob=await content(id,name),text=await blob.slice(0,4000).text();return shell(el('pre',{},text+(blob.size>4000?'\n…':'')))}
 }catch(e){return shell(el('p',{className:'critical'},e.message))}
 return shell()}
const pairs=entries=>el('table',{className:'pairs'},el('tbody',{},...entries.map(([n,v])=>el('tr',{},el('td',{className:'soft'},n),el('td',{},v instanceof Node?v:value(v))))))
const points=(course,name)=>(course[name]||[]).map(p=>({step:p.step,value:p.value}))
function history(trials,metric,best){
 const at=trials.map(t=>({step:Number(t.tags.trial),value:t.metrics[metric],ok:t.status==='done'})).filter(p=>Number.isFinite(p.value)).sort((a,b)=>a.step-b.step)
 const up=best!==undefined&&at.filter(p=>p.ok).every(p=>p.value<=best+1e-12);let so=null
 const line=at.filter(p=>p.ok).map(p=>({step:p.step,value:so=so===null?p.value:up?Math.max(so,p.value):Math.min(so,p.value)}))
 return curves(metric,[{name:'trial',color:COLORS[0],points:at.filter(p=>p.ok),dots:true},{name:'given up',color:'#94a3b8',points:at.filter(p=>!p.ok),dots:true},{name:'best so far',color:COLORS[1],points:line}],{names:true})}
async function runPage(id){
 const r=await get('/api/run',{id}),s=r.source||{},several=Object.values(r.points).some(n=>n>1)
 const[course,children,kept]=await Promise.all([several?get('/api/course',{id:r.id,points:400}):{},r.children.length?get('/api/runs',{where:`parent = '${r.id}'`,limit:500}):[],Promise.all(Object.entries(r.artifacts).slice(0,24).map(([n,d])=>artifact(r.id,n,d)))])
 steady=r.status!=='running'
 const plots=(names,of)=>names.map(n=>curves(n.replace('system.',''),[{name:n,color:of,points:points(course,n)}],n.startsWith('system.')?{height:120,wide:300}:{})).filter(Boolean)
 const names=Object.keys(r.metrics),drawn=own(names).filter(n=>r.points[n]>1),system=names.filter(n=>n.startsWith('system.'))
 const facts=[['data',r.dataset?el('a',{href:'#dataset:'+r.dataset},`${r.dataset}@${r.dataset_version}`):null],['made',r.made?el('a',{href:'#'+encodeURIComponent(r.made.split('@')[0])},r.made):null],['part of',r.parent?el('a',{href:'#run:'+r.parent},r.parent):null],['git',s.commit?`${s.commit.slice(0,12)}${s.branch?` (${s.branch})`:''}${s.dirty?', with changes':''}`:null],['script',s.script],['python',s.python],['by',[s.user,s.host].filter(Boolean).join('@')||null],['environment',s.environment?el('code',{},s.environment.slice(0,16)):null]].filter(([,v])=>v)
 const tags=Object.entries(r.tags)
 return[el('p',{},el('a',{href:'#runs:'},'Runs')),el('div',{className:'title'},el('h2',{},r.name,badge(r.status)),el('p',{className:'soft'},[r.kind,r.experiment&&`in ${r.experiment}`,r.segment&&`segment ${r.segment}`,when(r.started),took(r.duration)].filter(Boolean).join(' · '),' · ',el('code',{},r.id)),tags.length?el('p',{},...tags.map(([n,v])=>chip(n,v))):null,r.error?el('pre',{className:'critical'},r.error):null,r.note?el('div',{className:'note'},r.note):null),
  el('div',{className:'two'},section('Metrics',own(names).length?pairs(own(names).map(n=>[n,r.metrics[n]])):el('p',{className:'soft'},'none')),section('Parameters',Object.keys(r.params).length?pairs(Object.entries(r.params)):el('p',{className:'soft'},'none'))),
  drawn.length?section('Courses',el('div',{className:'plots'},...plots(drawn,COLORS[0]))):null,
  children.length&&r.kind==='search'?section('Trials',history(children,r.tags.metric,r.metrics[r.tags.metric])||'',chosen(),runTable(children)):children.length?section('Parts',chosen(),runTable(children)):null,
  kept.length?section('Artifacts',el('div',{className:'artifacts'},...kept)):null,
  facts.length?section('Where it came from',pairs(facts)):null,
  system.length?section('System',el('div',{className:'plots small'},...plots(system,COLORS[6]))):null]}
let everything=false
async function comparePage(ids){
 const told=await get('/api/compare',{ids}),heads=told.runs;steady=heads.every(h=>h.status!=='running')
 const courses=await Promise.all(heads.map(h=>get('/api/course',{id:h.id,points:300}))),color=i=>COLORS[i%COLORS.length]
 const names=[...new Set(courses.flatMap(c=>own(Object.keys(c)).filter(n=>c[n].length>1)))]
 const label=i=>heads.some((h,j)=>j!==i&&h.name===heads[i].name)?`${heads[i].name} ${heads[i].id.slice(-4)}`:heads[i].name
 const fields=told.fields.filter(f=>(everything||f.differ)&&(everything||!/^(source|metrics\.system)\./.test(f.field)))
 const cut=v=>typeof v==='string'&&/^[0-9a-f]{40,64}$/.test(v)?v.slice(0,12):value(v)
 const group=(title,kind)=>{const mine=fields.filter(f=>f.field.startsWith(kind+'.'));return mine.length?[el('tr',{className:'group'},el('th',{colSpan:heads.length+1},title)),...mine.map(f=>el('tr',{className:f.differ?'':'soft'},el('td',{},f.field.slice(kind.length+1)),...f.values.map(v=>el('td',{},cut(v)))))]:[]}
 const hidden=told.fields.length-fields.length
 return[el('p',{},el('a',{href:'#runs:'},'Runs')),section('Runs side by side',el('div',{className:'scroll'},el('table',{className:'compare'},el('thead',{},el('tr',{},el('th'),...heads.map((h,i)=>el('th',{scope:'col'},el('i',{className:'dot',style:`background:${color(i)}`}),runLink(h,label(i)),' ',badge(h.status))))),el('tbody',{},el('tr',{className:'soft'},el('td',{},'started'),...heads.map(h=>el('td',{},when(h.started)))),el('tr',{className:'soft'},el('td',{},'took'),...heads.map(h=>el('td',{},took(h.duration)))),...group('Metrics','metrics'),...group('Parameters','params'),...group('Tags','tags'),...group('Where from','source')))),
  el('p',{},el('button',{onclick:()=>{everything=!everything;draw(true)}},everything?'Only what differs':`Show all (${hidden} more)`))),
  names.length?section('Courses',el('div',{className:'legend'},...heads.map((h,i)=>el('span',{},el('i',{style:`background:${color(i)}`}),label(i)))),el('div',{className:'plots'},...names.map(n=>curves(n,courses.map((c,i)=>({name:label(i),color:color(i),points:points(c,n)})))).filter(Boolean))):null]}
